"""Steps that must not happen: a loss that is no number, or one far from the last ones. Such a step is skipped with its
data. After several in a row the run goes back to its last checkpoint, on with other data; after several of those it
ends.

Standard library only. All of it is in the checkpoint: a run that is killed and resumed skips the same steps.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Any

WINDOW = 128  # losses that say what is usual, as in llm.c's outlier detector


@dataclass
class Spikes:
    """What was skipped so far, and what is usual.

    limit: standard deviations above the mean of the last WINDOW losses that a loss may lie; None: any finite one is
    taken. A window that is not full yet knows of no limit.
    """

    limit: float | None
    max_in_row: int
    max_rollbacks: int
    usual: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    skipped: int = 0
    in_row: int = 0
    rollbacks: int = 0

    def refuse(self, loss: float, grad_norm: float) -> str | None:
        """Why this step must not happen; None when it may. Remembers either."""
        why = self._why(loss, grad_norm)
        if why is None:
            self.usual.append(loss)
            self.in_row = 0
        else:
            self.skipped += 1
            self.in_row += 1
        return why

    def _why(self, loss: float, grad_norm: float) -> str | None:
        if not math.isfinite(loss + grad_norm):
            return f"the loss became {loss}, its gradient {grad_norm}"
        if self.limit is None or len(self.usual) < WINDOW:
            return None
        mean, spread = statistics.fmean(self.usual), statistics.pstdev(self.usual)
        if loss <= mean + self.limit * spread:
            return None
        return f"the loss jumped to {loss:.3f}, {(loss - mean) / max(spread, 1e-12):.1f} deviations above {mean:.3f}"

    @property
    def must_roll_back(self) -> bool:
        return self.in_row > self.max_in_row

    @property
    def is_hopeless(self) -> bool:
        return self.must_roll_back and self.rollbacks >= self.max_rollbacks

    def rolled_back(self, usual: list[float]) -> None:
        """The run stands at a checkpoint again, with what was usual there; what was skipped stays counted."""
        self.usual = deque(usual, maxlen=WINDOW)
        self.in_row, self.rollbacks = 0, self.rollbacks + 1

    def to_json(self) -> dict[str, Any]:
        return {
            "usual": list(self.usual), "skipped": self.skipped, "in_row": self.in_row, "rollbacks": self.rollbacks,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """As a checkpoint holds it; one of an older version holds nothing."""
        self.usual = deque(state.get("usual", ()), maxlen=WINDOW)
        self.skipped, self.in_row, self.rollbacks = (state.get(name, 0) for name in ("skipped", "in_row", "rollbacks"))
