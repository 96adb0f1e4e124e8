"""Several processes, one training: each works its share of a step's micro-batches, and their gradients are summed.

Every rank holds all weights and makes the same optimizer step from the same sums, so they stay equal to the bit; rank 0
alone writes. What one rank knows by itself (a signal, a clock, what lies on the disk) is agreed on before anybody acts
on it: who leaves alone would be waited for.

torchrun starts all ranks (python -m gpt). A training starts its others itself: several(). Those meet in a file and
talk over the loopback; torchrun's own meeting place listens to every network.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from datagen.files import write_json
from gpt.config import BadConfig, TrainConfig

T = TypeVar("T")
ORDER, MEETING = "ranks.json", "ranks.meeting"
DYING_S = 1.0  # from a torn connection to the end of the process that held it
SAME_END_S = 10.0  # for another rank to end for the same reason
DONE, FAILED, BAD_ARGS, OUT_OF_MEMORY, UNFINISHED = 0, 1, 64, 71, 75  # how a rank ends; as a job's child does


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is. All of them call each method but `share` at the same place."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, things: Sequence[T]) -> Sequence[T]:
        """This rank's part: every size-th."""
        return things[self.rank :: self.size]

    def check_shares(self, micro_batches: int) -> None:
        """Raises BadConfig when not every rank has as many of a step."""
        if micro_batches % self.size:
            raise BadConfig(f"grad_accum={micro_batches} does not divide among {self.size} processes: take a multiple")

    def gather(self, rows: list[list[int]]) -> list[list[int]]:
        """The rows of all shares, in the order they had before. Every rank gives as many, of one length."""
        if self.size == 1:
            return rows
        mine = torch.tensor(rows)
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine)
        found: list[list[int]] = torch.stack(parts, dim=1).flatten(0, 1).tolist()
        return found

    def agree(self, yes: bool) -> bool:
        """Whether any rank says yes. Between CPUs: no card is waited for."""
        if self.size == 1:
            return yes
        said = torch.tensor(int(yes))
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)

    def told(self, number: int) -> int:
        """Rank 0's number."""
        if self.size == 1:
            return number
        said = torch.tensor(number)
        dist.broadcast(said, src=0)
        return int(said)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes the sum over all ranks: in place, the same bits on every one."""
        if self.size == 1:
            return
        for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            work.wait()


ALONE = Ranks()


def join(rank: int, size: int, device: str, meeting: str) -> Ranks:
    """Be one of them; when this returns, all are there. meeting: where they find each other, as torch names it."""
    if size == 1:
        return ALONE
    backend = "gloo"
    if device.startswith("cuda"):
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(device)  # NCCL takes the current one
    store, _, _ = next(rendezvous(meeting, rank, size))
    # torchrun keeps its store when it starts ranks again: they would take the dead ones' addresses (pytorch 135712)
    store = dist.PrefixStore(  # type: ignore[attr-defined]
        f"life {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store
    )
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    return Ranks(rank, size)


def leave() -> None:
    """All of them together."""
    if dist.is_initialized():
        dist.destroy_process_group()


def own_device(device: str, local_rank: int) -> str:
    """The card of one rank of this machine: they count on from the one that is named. Raises BadConfig."""
    if not device.startswith("cuda"):
        return device
    index = (torch.device(device).index or 0) + local_rank
    if index >= torch.cuda.device_count():
        raise BadConfig(f"a rank needs card {index}, and there are {torch.cuda.device_count()}: take fewer processes")
    return f"cuda:{index}"


# ── a training that starts its others itself ──────────────────────────────────────────────────────────────────────


@contextmanager
def several(
    config: TrainConfig, workdir: Path, size: int, ran_out: Callable[[str], int] = lambda why: OUT_OF_MEMORY
) -> Iterator[Ranks]:
    """Rank 0 of `size`, the others started as processes of ours. When this ends they are gone: they hold nothing.

    One that dies ends this process too, at any moment (exit 64 when that was its own, else 1): the others would wait
    for it. All begin again from the last checkpoint. ran_out: hears of one whose memory ran out, and says with which
    code to end then.
    """
    if size == 1:
        yield ALONE
        return
    own_device(config.device, size - 1)
    stay_on_this_machine()
    write_json(workdir / ORDER, {"workdir": str(workdir), "config": config.to_json()})
    meeting = workdir / MEETING
    meeting.unlink(missing_ok=True)  # of an attempt that was killed
    leaving, others = threading.Event(), [start(workdir, rank, size) for rank in range(1, size)]
    for rank, other in enumerate(others, 1):
        threading.Thread(target=watch, args=(rank, other, leaving, ran_out), daemon=True).start()
    try:
        yield join(0, size, own_device(config.device, 0), meeting.absolute().as_uri())
    except RuntimeError:
        leaving.wait(DYING_S)  # a rank that dies tears its connections: who watches it says so, and ends us
        raise
    finally:
        leaving.set()
        for other in others:
            other.kill()
            other.communicate()
        if not config.device.startswith("cuda"):  # NCCL's farewell waits for the others, who are gone
            leave()
        meeting.unlink(missing_ok=True)


def start(workdir: Path, rank: int, size: int) -> "subprocess.Popen[bytes]":
    """One of the others. Its stdin is a pipe of ours, so it ends when we do; it keeps the lane's lock, as we do."""
    meeting = (workdir / MEETING).absolute().as_uri()
    command = [sys.executable, "-P", "-m", "gpt", str(workdir / ORDER), "--meeting", meeting]
    told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    environment = os.environ | told | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, close_fds=False)


def watch(rank: int, other: "subprocess.Popen[bytes]", leaving: threading.Event, ran_out: Callable[[str], int]) -> None:
    """End this process when another ends as it should not: nothing else wakes one that waits for it."""
    code = other.wait()
    if code == BAD_ARGS:  # a loss that is no number, say: every rank comes to it by itself, and we have more to say
        leaving.wait(SAME_END_S)
    if code not in (DONE, UNFINISHED) and not leaving.is_set():
        why = f"signal {-code}" if code < 0 else f"exit {code}"
        print(f"rank {rank} died ({why}): the others end too, to begin again from the checkpoint", file=sys.stderr)
        try:
            code = ran_out(f"rank {rank} said so") if code == OUT_OF_MEMORY else code if code == BAD_ARGS else FAILED
        finally:  # what can't be kept (a full disk) is no reason to wait for ever
            os._exit(code)


def stay_on_this_machine() -> None:
    """Who is on one machine talks over the loopback: nobody else is to hear it, or to speak."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
