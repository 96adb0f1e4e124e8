"""What a checkpoint keeps of a training between two steps, and how a training goes on from one: to the last bit.

    model  optimizer  ema   the weights, the optimizer's moments, the average of the weights where there is one
    rng                     the state of torch's random numbers
    state                   steps and contexts done, and what losses are usual

The place in the data and in the schedule follows from the steps and contexts. state also says what may not change on
the way, and what decides how sums are rounded.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gpt.checkpoint import Checkpoint
from gpt.config import BadConfig, TrainConfig
from gpt.shards import Pack

if TYPE_CHECKING:
    from gpt.train import Trainer

ONCE = {"optimizer": "adamw", "init": None}  # what the oldest checkpoints were made with, and say nothing of


def taken(trainer: "Trainer") -> Checkpoint:
    """All of it, as it is now; the tensors are the training's own."""
    groups = {"model": dict(trainer.model.state_dict()), "optimizer": trainer.optimizer.tensors()}
    groups["rng"] = rng_of(trainer.device)
    if trainer.ema is not None:
        groups["ema"] = trainer.ema.average
    config = trainer.config
    state = {
        "step": trainer.step,
        "contexts_seen": trainer.contexts_seen,
        "tokens_seen": trainer.tokens_seen,
        "longest": trainer.longest,
        "spikes": trainer.spikes.to_json(),
        **numerics(trainer.ranks.size),
        "fixed": fixed(config, trainer.pack),
        "config": {**asdict(config), "pack": config.pack.name, "init": init_name(config)},
    }
    return Checkpoint(trainer.step, groups, state)


def restore(trainer: "Trainer", found: Checkpoint) -> None:
    """The reverse, but for the spikes. Raises BadConfig when it is of another run."""
    check_same_run(trainer, found)
    state = found.state
    here = numerics(trainer.ranks.size)
    if differing := [name for name, value in here.items() if state.get(name, value) != value]:
        told = ", ".join(f"{name} {here[name]} (saved with {state[name]})" for name in differing)
        trainer.tell(f"resumed with {told}: sums may round another way from here")
    trainer.model.load_state_dict(found.groups["model"])
    trainer.optimizer.load(found.groups["optimizer"])
    if trainer.ema is not None:  # switched on in the middle it begins with the weights that are there
        trainer.ema.load(found.groups.get("ema", found.groups["model"]))
    set_rng(trainer.device, found.groups["rng"])
    trainer.step, trainer.tokens_seen, trainer.longest = state["step"], state["tokens_seen"], state["longest"]
    trainer.contexts_seen, trainer.writer.saved_step = state["contexts_seen"], state["step"]


def check_same_run(trainer: "Trainer", found: Checkpoint) -> None:
    now, then = fixed(trainer.config, trainer.pack), ONCE | found.state["fixed"]
    if changed := [name for name, value in then.items() if now.get(name) != value]:
        raise BadConfig(
            f"the checkpoint at step {found.step} was made with another {', '.join(changed)}: "
            "put it back, or queue a new job"
        )
    if found.step > trainer.config.steps:
        raise BadConfig(f"the run stands at step {found.step}, past steps={trainer.config.steps}: take at least that")


def fixed(config: TrainConfig, pack: Pack) -> dict[str, Any]:
    """What a run can't change on the way. The rest (steps, lr, micro_batch ...) may be edited between attempts."""
    settings = {"model": config.model.to_json(), "seed": config.seed, "optimizer": config.optimizer}
    return {**settings, "init": init_name(config), "pack": pack.manifest["sha256"]}


def init_name(config: TrainConfig) -> str | None:
    return None if config.init is None else config.init.name


def numerics(processes: int) -> dict[str, Any]:
    """What decides how sums are rounded, beside the device and its kernels."""
    return {"processes": processes, "threads": torch.get_num_threads(), "torch": torch.__version__}


def rng_of(device: torch.device) -> dict[str, Tensor]:
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_rng(device: torch.device, rng: dict[str, Tensor]) -> None:
    torch.set_rng_state(rng["cpu"])
    if device.type == "cuda" and "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], device)
