"""Train the GPT on a pack. Resumes from the newest whole checkpoint in its workdir.

Every judge_every steps it keeps a snapshot, queues `answer` and `judge` for it at a higher priority, and leaves:
the GPU's memory is theirs. Then it comes back. What it queued it queues again under the same keys when it resumes,
so a crash between the two loses nothing.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs import batches
from jobs.contract import BadArgs, HomePath, OutOfGpuMemory, Run, Unfinished
from jobs.picture import Picture

if TYPE_CHECKING:
    from gpt.checkpoint import Checkpoint
    from gpt.config import GPTConfig, TrainConfig
    from gpt.shards import Pack
    from gpt.train import Step

LANE = "gpu"
WARM = ("torch", "torch._dynamo", "gpt.fit")  # the optimizer imports the second: 1.5 s after `go`, else
GPT_FIELDS = (
    *("n_layer", "n_head", "n_kv_head", "n_embd", "num_positions", "bias", "pos", "norm", "mlp", "tied", "qk_norm"),
    "dropout",
)
TRAIN_FIELDS = (
    *("steps", "micro_batch", "grad_accum", "lr", "min_lr", "warmup_steps", "decay", "optimizer", "ema_decay", "eps"),
    *("grad_clip", "seed", "eval_every", "eval_contexts", "checkpoint_every", "checkpoint_every_s", "pin_every"),
    *("attention", "dtype", "compile", "deterministic", "recompute", "threads"),
    *("max_deviations", "max_skips", "max_rollbacks"),
)
NOT_VRAM_ARGS = (  # what changes nothing about the memory it takes on the GPU
    *("name", "steps", "grad_accum", "contexts_per_step", "lr", "min_lr", "warmup_steps", "decay", "betas", "eps"),
    *("grad_clip", "seed"),
    *("init", "weight_decay", "weight_decay_from_epoch", "threads", "max_deviations", "max_skips", "max_rollbacks"),
    *("eval_every", "eval_contexts", "checkpoint_every", "checkpoint_every_s", "pin_every", "snapshot_every"),
    *("judge_every", "judge_limit", "draw_every_s"),
)


@dataclass(frozen=True)
class Args:
    pack: HomePath
    name: str = "gpt"  # what its models' names begin with
    steps: int = 2000  # optimizer steps
    micro_batch: int | Literal["auto"] = "auto"  # contexts of one forward and backward; auto: as many as fit
    grad_accum: int | None = None  # of those in one step; none: what the other two make it
    contexts_per_step: int | None = None  # their product; none: what they make it, or 120
    processes: int = 1  # that share each step's micro-batches, on as many cards, or on the CPU
    n_layer: int = 18
    n_head: int = 12
    n_kv_head: int | None = None
    n_embd: int = 768
    vocab_size: int | None = None  # none: the tokenizer's
    context_len: int | None = None  # none: the pack's
    num_positions: int | None = None
    preset: str = "gpt2"  # or "modern": what the next eight are where they are none
    bias: bool | None = None
    pos: str | None = None
    norm: str | None = None
    mlp: str | None = None
    tied: bool | None = None
    qk_norm: bool | None = None
    optimizer: str | None = None
    decay: str | None = None
    dropout: float = 0.0
    lr: float = 6e-4
    min_lr: float = 6e-5
    warmup_steps: int = 200
    ema_decay: float | None = None  # of an average of the weights, which is then what is judged; none: the newest are
    betas: tuple[float, ...] = (0.9, 0.95)
    eps: float = 1e-8
    grad_clip: float = 1.0
    weight_decay: tuple[float, ...] = (0.1, 0.05)
    weight_decay_from_epoch: tuple[float, ...] = (0.0, 2.0)
    seed: int = 0
    init: str | None = None  # a model whose weights it begins with, optimizer and rates new; none: drawn by the seed
    attention: str = "auto"
    compile: str = "auto"  # the blocks, by torch.compile: on CUDA; or "on", "off"
    deterministic: bool = False  # the same bits from the same run on CUDA too; slower
    dtype: str = "auto"  # of the stream: "bfloat16" on CUDA, "float32" elsewhere; either may be asked for
    recompute: bool = False  # a third more work, a sixteenth of the activations' memory: `jobctl fit` shows both
    threads: int | None = None  # of the CPU; none: all of them
    max_deviations: float | None = None  # a step whose loss jumps further is skipped; none: only one that is no number
    max_skips: int = 5  # in a row; then back to the last checkpoint, past the data
    max_rollbacks: int = 2  # then the run ends
    eval_every: int = 100
    eval_contexts: int = 32
    checkpoint_every: int = 200
    checkpoint_every_s: float = 300.0
    pin_every: int | None = None  # steps between checkpoints that are kept for good
    snapshot_every: int | None = None  # steps between models that are kept without a judgement
    judge_every: int | None = None  # steps between judged snapshots; the last step is judged too. none: no judging
    judge_limit: int | None = None  # questions of each group, the same ones every time; none: all
    draw_every_s: float = 60.0

    def __post_init__(self) -> None:
        from gpt.archive import check_name, check_run_name
        from gpt.config import PRESETS, BadConfig

        if self.preset not in PRESETS:
            raise BadArgs(f"train takes as preset one of {', '.join(PRESETS)}, not {self.preset!r}")
        for field, value in PRESETS[self.preset].items():
            if getattr(self, field) is None:
                object.__setattr__(self, field, value)  # frozen from here on: what the queue keeps is what is run
        grad_accum, contexts = batches.grouped(self.micro_batch, self.grad_accum, self.contexts_per_step)
        object.__setattr__(self, "grad_accum", grad_accum)
        object.__setattr__(self, "contexts_per_step", contexts)
        if self.processes < 1 or (grad_accum or contexts) % self.processes:
            raise BadArgs(
                f"train: processes={self.processes} can't share the {grad_accum or contexts} micro-batches of a step: "
                f"take 1 or more that divide them"
            )
        if len(self.betas) != 2:
            raise BadArgs(f"train takes two betas, not {self.betas}")
        if len(self.weight_decay) != len(self.weight_decay_from_epoch):
            raise BadArgs(
                f"train takes as many weight_decay_from_epoch as weight_decay: {self.weight_decay_from_epoch} and "
                f"{self.weight_decay} differ"
            )
        for field in ("snapshot_every", "judge_every", "judge_limit"):
            if (value := getattr(self, field)) is not None and value < 1:
                raise BadArgs(f"train takes {field} of 1 or more, or none, not {value}")
        try:
            check_run_name(self.name)
            check_name(self.init or self.name)
            train_config(self, Path(self.pack), model_config(self, vocab_size=2**20, context_len=1))
        except BadConfig as error:
            raise BadArgs(f"train: {error}") from error


def check(args: Args, home: Path) -> None:
    """Refuse to queue what begins with a model of another shape. One that is not there yet may be when it starts."""
    from datagen import files
    from gpt import archive
    from gpt.config import check_same_shape

    if args.init is None or not files.is_complete(folder := home / "models" / args.init):
        return
    try:
        given = archive.read_config(folder)
        wanted = model_config(args, vocab_size=given.vocab_size, context_len=given.context_len)
        check_same_shape(args.init, given, wanted)
    except (OSError, ValueError) as error:  # a BadConfig, or a file that is no config
        raise BadArgs(f"train: {error}") from error


def model_config(args: Args, *, vocab_size: int, context_len: int) -> "GPTConfig":
    """The model's shape; the two sizes are the pack's, for what args leave open."""
    from gpt.config import GPTConfig

    return GPTConfig(
        vocab_size=vocab_size if args.vocab_size is None else args.vocab_size,
        context_len=context_len if args.context_len is None else args.context_len,
        **{name: getattr(args, name) for name in GPT_FIELDS},
    )


def train_config(args: Args, pack: Path, model: "GPTConfig", device: str = "cpu") -> "TrainConfig":
    from gpt.config import TrainConfig

    phases = tuple(zip(args.weight_decay_from_epoch, args.weight_decay, strict=True))
    settings = {name: getattr(args, name) for name in TRAIN_FIELDS}
    if args.micro_batch == batches.AUTO:  # one at a time, until it is known what fits
        settings |= {"micro_batch": 1, "grad_accum": args.contexts_per_step}
    first, second = args.betas
    return TrainConfig(pack, model, **settings, betas=(first, second), weight_decay=phases, device=device)


def prepare(args: Args, job: Run) -> "tuple[Checkpoint | None, Pack]":
    """Before the GPU is ours: the checkpoint into memory, the pack's files mapped, the compiler imported."""
    from gpt import checkpoint, compiled, shards, train

    compiled.warm(args.compile)
    try:
        return train.prepare(job.path(args.pack), job.workdir, tell=job.note)
    except (checkpoint.Damaged, shards.DamagedPack, FileNotFoundError) as error:
        raise BadArgs(f"train: {error}") from error


def run(args: Args, job: Run, prepared: "tuple[Checkpoint | None, Pack] | None" = None) -> None:
    import torch

    from gpt.config import BadConfig

    started = time.monotonic()
    prepared = prepared or prepare(args, job)
    picture = Picture(job, args.draw_every_s)
    try:
        whole = configured(args, job, prepared[1])
        part = accumulating(whole, whole.grad_accum // args.processes)
        with batches.fitted(args, job, part, prepared) as (share, ran_out):
            as_fits = accumulating(share, share.grad_accum * args.processes)
            _train(args, job, as_fits, prepared, picture, started, ran_out)
    except BadConfig as error:
        raise BadArgs(f"train: {error}") from error
    except torch.OutOfMemoryError as error:
        raise OutOfGpuMemory(
            f"{args.micro_batch} contexts of this model do not fit the GPU ({str(error).splitlines()[0]}): "
            f"halve micro_batch and double grad_accum, and the step stays the same"
        ) from error
    finally:
        picture.stop()


def configured(args: Args, job: Run, pack: "Pack") -> "TrainConfig":
    """The run on this pack and device, as far as args decide it."""
    shape = model_config(args, vocab_size=pack.manifest["vocab_size"], context_len=pack.context_len)
    config = train_config(args, pack.folder, shape, job.device)
    return dataclasses.replace(config, init=None if args.init is None else job.home / "models" / args.init)


def accumulating(config: "TrainConfig", grad_accum: int) -> "TrainConfig":
    """With so many micro-batches a step: one process's share of them, or all."""
    return dataclasses.replace(config, grad_accum=grad_accum)


def _train(
    args: Args,
    job: Run,
    config: "TrainConfig",
    prepared: "tuple[Checkpoint | None, Pack]",
    picture: Picture,
    started: float,
    ran_out: batches.RanOut,
) -> None:
    from gpt.compiled import Cache, choose
    from gpt.ranks import several
    from gpt.train import train

    pack = prepared[1]
    cache = Cache(job.home / "cache" / "compiled") if choose(config.compile, config.device) else None
    queue_judging(args, job, newest_judged(args, job))
    describe(args, job, config, pack)
    first_step_s = None
    with several(config, job.workdir, args.processes, ran_out) as ranks:
        steps = train(
            config, job.workdir, stop=lambda: job.stop_requested, tell=job.note, prepared=prepared, ranks=ranks
        )
        for step in steps:
            first_step_s = first_step_s or time.monotonic() - started
            if cache is not None:
                cache.proven()
            report(args, job, step, first_step_s)
            picture.draw_if_due()
            if is_kept(args, step.number):
                keep(args, job, pack, step)
            if is_judged(args, step.number) and step.number < args.steps:
                step.save()
                queue_judging(args, job, newest_judged(args, job))
                raise Unfinished
    if job.stop_requested:
        raise Unfinished
    queue_judging(args, job, newest_judged(args, job))
    picture.draw_last()


def report(args: Args, job: Run, step: "Step", first_step_s: float) -> None:
    job.progress(
        step.number,
        args.steps,
        "steps",
        loss=step.loss,
        val_loss=step.val_loss,
        lr=step.lr,
        tokens_per_s=step.tokens_per_s,
        tokens_seen=step.tokens_seen,
        first_step_s=first_step_s,
    )


def is_judged(args: Args, step: int) -> bool:
    return args.judge_every is not None and (step % args.judge_every == 0 or step == args.steps)


def is_kept(args: Args, step: int) -> bool:
    due = args.snapshot_every is not None and step % args.snapshot_every == 0
    return due or is_judged(args, step) or step == args.steps


def keep(args: Args, job: Run, pack: "Pack", step: "Step") -> None:
    """The model as it is now, into models/."""
    from gpt import archive

    val_loss = step.evaluate() if step.val_loss is None else step.val_loss
    previous = [e for e in archive.list_models(job.home) if e.manifest.get("run") == job.id]
    facts = {
        "kind": "snapshot",
        "parent": previous[-1].name if previous else args.init,
        "run": job.id,
        "run_name": args.name,
        "pack": str(args.pack),
        "pack_sha256": pack.manifest["sha256"],
        "step": step.number,
        "tokens_seen": step.tokens_seen,
        "longest": step.longest,
        "loss": step.loss,
        "val_loss": val_loss,
        "ema_decay": args.ema_decay,
        "git_commit": archive.git_commit(),
    }
    name = archive.snapshot_name(args.name, step.number, step.tokens_seen, val_loss)
    folder = archive.place(job.home / "models", name, job.id)
    tokenizer = (pack.folder / archive.TOKENIZER).read_bytes()
    archive.write_model(folder, step.weights(), step.model.config, tokenizer, facts)


def newest_judged(args: Args, job: Run) -> dict[str, Any] | None:
    """The manifest of this run's newest snapshot that is to be judged."""
    from gpt import archive

    mine = [e.manifest for e in archive.list_models(job.home) if e.manifest.get("run") == job.id]
    judged = [m for m in mine if m["kind"] == "snapshot" and is_judged(args, m["step"])]
    return max(judged, key=lambda m: m["step"], default=None)


def queue_judging(args: Args, job: Run, model: dict[str, Any] | None) -> None:
    """Queue answer and judge for a snapshot, and once per run the answers of the untrained model. Again: no change."""
    if model is None:
        return
    name, step, questions = model["name"], model["step"], f"{args.pack}/questions.jsonl"
    untrained = f"{args.name}-{job.id}-untrained"
    key, baseline_key = f"train-{job.id}-{step}", f"train-{job.id}-{args.name}-untrained"  # a job may be renamed
    asked = {"model": name, "questions": questions, "limit_per_group": args.judge_limit}
    job.submit("answer", asked, key=f"{key}-answer", name=f"answer {step}", priority_above=1)
    fresh = {**asked, "untrained": True, "out": untrained}
    job.submit("answer", fresh, key=baseline_key, name="answer untrained", priority_above=1)
    job.submit(
        "judge",
        {"model": name, "pack": str(args.pack), "baselines": [untrained]},
        key=f"{key}-judge",
        name=f"judge {step}",
        priority_above=1,
        after=(f"{key}-answer", baseline_key),
    )


def describe(args: Args, job: Run, config: "TrainConfig", pack: "Pack") -> None:
    """run.json: what the picture says about the run, besides what it measured."""
    from datagen.files import write_json
    from gpt.archive import git_commit

    facts = {"name": args.name, "pack": str(args.pack), "job": job.id, "git_commit": git_commit()}
    as_run = {"micro_batch": config.micro_batch, "grad_accum": config.grad_accum}
    facts |= {"machine": machine(job.device), "steps": args.steps, "args": dataclasses.asdict(args) | as_run}
    facts |= {"contexts": pack.num_contexts("train"), "context_len": pack.context_len}
    write_json(job.workdir / "run.json", json.loads(json.dumps(facts)))


def machine(device: str) -> str:
    """'2 cores', or the card's name."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} CPU threads"
