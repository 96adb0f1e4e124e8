"""One rank of a training that several processes share: torchrun --standalone --nproc-per-node 2 -m gpt ORDER.json

ORDER.json: {"workdir": "...", "config": {"pack": "...", "model": {...}, "steps": ...}}, the fields of TrainConfig and
GPTConfig; paths count from where it is started. Started again, it goes on from the newest checkpoint in its workdir:
after a rank was killed, torchrun --max-restarts does so by itself. Without torchrun it is the only rank.
"""

import argparse
import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpt import checkpoint, ranks
from gpt.config import BadConfig, TrainConfig
from gpt.shards import DamagedPack
from gpt.train import Step, train


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 done, 64 refused with a sentence, 71 out of GPU memory, 75 told to leave before the end."""
    parser = argparse.ArgumentParser(prog="python -m gpt", description=__doc__)
    parser.add_argument("order", type=Path)
    parser.add_argument("--meeting", help="of a rank that another one started: it ends with that one")
    told = parser.parse_args(argv)
    if told.meeting is not None:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    try:
        return run(json.loads(told.order.read_text()), told.meeting)
    except (BadConfig, DamagedPack, checkpoint.Damaged, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return ranks.BAD_ARGS
    except torch.OutOfMemoryError as error:
        print(error, file=sys.stderr)
        return ranks.OUT_OF_MEMORY


def run(order: dict[str, Any], meeting: str | None) -> int:
    config = TrainConfig.from_json(order["config"])
    environment = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"} | os.environ
    rank, size, local_rank = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if int(environment.get("LOCAL_WORLD_SIZE", size)) == size:
        ranks.stay_on_this_machine()
    config = replace(config, device=ranks.own_device(config.device, local_rank))
    asked = threading.Event()
    if meeting is None:
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
    else:  # whoever started us says when: a rank that stops by itself would end a job that nobody stopped
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    mine, step = ranks.join(rank, size, config.device, meeting or "env://"), None
    for step in train(config, Path(order["workdir"]), stop=asked.is_set, tell=tell, ranks=mine):
        if mine.is_first:
            tell(line(step, config))
    done = meeting is not None or (step is not None and step.number == config.steps)
    done = done or not mine.agree(asked.is_set())  # it was done when we came
    ranks.leave()
    return ranks.DONE if done else ranks.UNFINISHED


def tell(text: str) -> None:
    print(text, flush=True)


def line(step: Step, config: TrainConfig) -> str:
    val_loss = "" if step.val_loss is None else f", val loss {step.val_loss:.4f}"
    return f"step {step.number} of {config.steps}: loss {step.loss:.4f}{val_loss}, {step.tokens_per_s:,.0f} tokens/s"


def end_with_stdin() -> None:
    """Whoever holds the other end is gone when there is nothing more to read."""
    while os.read(0, 1 << 16):
        pass
    os._exit(ranks.UNFINISHED)


if __name__ == "__main__":
    sys.exit(main())
