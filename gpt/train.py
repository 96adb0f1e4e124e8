"""The training loop. A run is a workdir: killed at any moment and started again, it goes on from its newest whole
checkpoint, and on the CPU ends with the same bits as if nothing had happened.

It knows nothing of jobs: `stop` says when to leave, `tell` takes a sentence for a person, and each Step can `save`.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gpt import checkpoint, compiled, metrics, schedule
from gpt.attention import choose
from gpt.begin import check_fits, first_model
from gpt.checkpoint import Checkpoint
from gpt.config import Diverged, TrainConfig
from gpt.data import Batch, Facts, context_at, hash_seed, read_batch
from gpt.ema import Ema
from gpt.loss import labelled_loss
from gpt.model import GPT
from gpt.optim import Optimizer
from gpt.ranks import ALONE, Ranks
from gpt.resume import restore, rng_of, set_rng, taken
from gpt.shards import Pack, open_pack
from gpt.spikes import Spikes

DROPOUT = 1  # a stream of random numbers beside the order of the data


@dataclass(frozen=True)
class Step:
    """A finished optimizer step. tokens_seen: tokens that gave loss, since step 1.

    longest: the longest document so far; learned positions past it were never trained.
    save() makes a checkpoint of it, on the disk when it returns; evaluate() measures the val loss where the step did
    not; weights() are the ones to keep as a model: the average where there is one, and val_loss is theirs.
    """

    number: int
    loss: float
    val_loss: float | None
    lr: float
    tokens_per_s: float
    tokens_seen: int
    longest: int
    grad_norm: float
    epoch: float
    model: GPT
    save: Callable[[], None]
    evaluate: Callable[[], float | None]
    weights: Callable[[], dict[str, Tensor]]


def train(
    config: TrainConfig,
    workdir: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = print,
    prepared: tuple[Checkpoint | None, Pack] | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Step]:
    """Train from where the workdir stands to config.steps, yielding each step; nothing when it is done already.

    stop: asked after each micro-batch; when true the unfinished step is dropped, the last one saved, and we return.
    prepared: what `prepare` read, which is used up. ranks: which of several processes this one is; every one of them
    goes through all steps, rank 0 alone writes, tells and evaluates. Raises BadConfig, checkpoint.Damaged,
    shards.DamagedPack, FileNotFoundError.
    """
    if not ranks.is_first:
        prepared, tell = (None, open_pack(config.pack)), silent  # it will be told which checkpoint
    resume, pack = prepared or prepare(config.pack, workdir, tell)
    trainer = Trainer(config, workdir, resume, pack, tell=tell, ranks=ranks)
    if resume is not None:
        resume.groups.clear()  # mapped from its files: held by who prepared it, they would take the disk's space on
    try:
        while trainer.step < config.steps:
            step = trainer.advance(stop)
            if step is None:
                break
            yield step
            trainer.look_after_checkpoints()
        trainer.save()
    finally:
        trainer.close()


def prepare(pack: Path, workdir: Path, tell: Callable[[str], None] = print) -> tuple[Checkpoint | None, Pack]:
    """What needs no GPU: the newest whole checkpoint in memory, the pack open. Raises like train."""
    return checkpoint.load_newest(workdir / "checkpoint", tell), open_pack(pack)


class Trainer:
    """Model, optimizer and place in the data, between two steps."""

    def __init__(
        self,
        config: TrainConfig,
        workdir: Path,
        resume: Checkpoint | None,
        pack: Pack,
        *,
        tell: Callable[[str], None],
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.workdir, self.pack, self.ranks = config, workdir, pack, ranks
        check_fits(config, pack)
        ranks.check_shares(config.grad_accum)
        use_threads(config.threads, ranks.size)
        resume = self._as_told(resume)
        self.device = torch.device(config.device)
        # one that resumes needs no other model's weights, which may be gone by now
        self._make_model(config if resume is None else replace(config, init=None))
        self._make_optimizer()
        self.step = self.contexts_seen = self.tokens_seen = 0
        self.writer = checkpoint.Writer(workdir / "checkpoint", tell, pin_every=config.pin_every)
        self.spikes = Spikes(config.max_deviations, config.max_skips, config.max_rollbacks)
        self.tell = tell
        if resume is not None:
            restore(self, resume)
            self.spikes.restore(resume.state.get("spikes", {}))
        self.saved_at = time.monotonic()
        workdir.mkdir(parents=True, exist_ok=True)
        own = workdir / "metrics.db" if ranks.is_first else Path(":memory:")  # of which little is kept
        self.metrics = metrics.open_metrics(own, last_step=self.step, contexts_seen=self.contexts_seen)
        torch.set_flush_denormal(True)  # a rare token's moments shrink into numbers that are slow on a CPU

    def _make_model(self, config: TrainConfig) -> None:
        """As a run begins, on the device, in the way that config wants it worked."""
        torch.manual_seed(config.seed)
        self.model, self.longest = first_model(config, self.pack)
        self.model.dtype = stream_dtype(config.dtype, self.device)
        head_size = config.model.head_size
        self.model.use_attention(choose(config.attention, self.device, self.model.dtype, head_size))
        self.model.recompute = config.recompute
        self.model.to(self.device)
        compiled.use_deterministic(config.deterministic)
        self.compiled = compiled.choose(config.compile, config.device)
        if self.compiled:
            compiled.compile_blocks(self.model)

    def _make_optimizer(self) -> None:
        """For the weights as they are now; with it their average."""
        config = self.config
        self.optimizer = Optimizer(self.model, config.optimizer, betas=config.betas, eps=config.eps)
        self.ema = None if config.ema_decay is None else Ema(self.model, config.ema_decay)

    def close(self) -> None:
        torch.set_flush_denormal(False)  # it holds for the whole process, and others may want them
        compiled.use_deterministic(False)
        self.metrics.close()
        self.writer.close()

    def advance(self, stop: Callable[[], bool]) -> Step | None:
        """One optimizer step, its row in metrics.db written. None when told to stop within: then nothing changed.

        Data that spoils the loss is passed over, and said. Raises Diverged when that does not help.
        """
        while True:
            started = time.monotonic()
            batches = self._read_step()
            facts = self._of_all_ranks(batches)
            labels = sum(one.num_labels for one in facts)
            rng = rng_of(self.device)
            loss = self._accumulate(batches, labels, stop)
            if loss is None:
                set_rng(self.device, rng)  # dropout may have drawn for the micro-batches that are dropped
                return None
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
            mean, grad_norm = loss.item(), norm.item()  # the only place where the CPU waits for the GPU
            why = self.spikes.refuse(mean, grad_norm)
            if why is None:
                return self._finish(facts, labels, mean, grad_norm, started)
            set_rng(self.device, rng)  # as if this data had not been there
            self._skip(why, mean, grad_norm)

    def _finish(self, facts: list[Facts], labels: int, loss: float, grad_norm: float, started: float) -> Step:
        """The optimizer's step with the gradients that are there."""
        config, number = self.config, self.step + 1
        epoch = self.contexts_seen / self.pack.num_contexts("train")
        lr = learning_rate(config, number)
        decay = schedule.weight_decay(epoch, config.weight_decay)
        self.optimizer.set_rates(lr, decay)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model, number)
        tokens_per_s = sum(one.num_tokens for one in facts) / (time.monotonic() - started)
        self.step, self.tokens_seen = number, self.tokens_seen + labels
        self.longest = max(self.longest, *(one.longest for one in facts))
        self.contexts_seen += config.contexts_per_step
        val_loss = None
        if self.ranks.is_first:
            val_loss = self.evaluate() if number % config.eval_every == 0 or number == config.steps else None
            row = metrics.Row(number, loss, val_loss, lr, tokens_per_s, self.tokens_seen, decay, grad_norm, time.time())
            metrics.write_step(self.metrics, row, [one.seen for one in facts])
        return Step(
            number,
            loss,
            val_loss,
            lr,
            tokens_per_s,
            self.tokens_seen,
            self.longest,
            grad_norm,
            epoch,
            self.model,
            self.save,
            self.evaluate,
            self.weights,
        )

    def _skip(self, why: str, loss: float, grad_norm: float) -> None:
        """Pass over the step's data; after too many in a row, from the last checkpoint on. Raises Diverged."""
        number, size = self.step + 1, self.config.contexts_per_step
        metrics.write_skip(self.metrics, metrics.Skip(number, self.contexts_seen, size, loss, grad_norm, time.time()))
        self.contexts_seen += size
        if self.spikes.is_hopeless:
            lr = learning_rate(self.config, number)
            raise Diverged(
                f"at step {number} {why} (lr {lr:.2g}), after {self.spikes.rollbacks} returns to a checkpoint: take a "
                f"lower lr or a longer warm-up in a new job; the checkpoint before it is kept"
            )
        self.tell(f"step {number}: {why}; its {size} contexts are passed over")
        if self.spikes.must_roll_back:
            self._roll_back()

    def _roll_back(self) -> None:
        """To the newest checkpoint, or the beginning, but on in the data: what spoilt the run is not read again."""
        self.writer.finish()
        first = self.ranks.is_first
        found = self._as_told(checkpoint.load_newest(self.workdir / "checkpoint", self.tell) if first else None)
        place = self.contexts_seen
        if found is None:
            self.step = self.tokens_seen = 0
            torch.manual_seed(self.config.seed)
            fresh, self.longest = first_model(self.config, self.pack)
            self.model.load_state_dict(fresh.state_dict())
            self._make_optimizer()
        else:
            restore(self, found)
        self.contexts_seen = place
        self.spikes.rolled_back([] if found is None else found.state.get("spikes", {}).get("usual", []))
        metrics.forget_after(self.metrics, self.step)
        self.tell(f"{self.spikes.skipped} steps were skipped so far: back to step {self.step}, on with other data")

    def _read_step(self) -> list[Batch]:
        """This rank's micro-batches of the step, in order: all of them first, for the number of labels."""
        total, config = self.pack.num_contexts("train"), self.config
        places = range(self.contexts_seen, self.contexts_seen + config.contexts_per_step)
        contexts = [context_at(config.seed, place, total) for place in places]
        size = config.micro_batch
        starts = self.ranks.share(range(0, len(contexts), size))
        return [read_batch(self.pack, "train", contexts[i : i + size]) for i in starts]

    def _of_all_ranks(self, batches: list[Batch]) -> list[Facts]:
        """Of all micro-batches of the step, in order, as those say who work them."""
        mine = [batch.facts for batch in batches]
        if self.ranks.size == 1:
            return mine
        return [Facts.from_row(row) for row in self.ranks.gather([one.to_row() for one in mine])]

    def _accumulate(self, batches: list[Batch], labels: int, stop: Callable[[], bool]) -> Tensor | None:
        """Forward and backward of a step; the mean loss over its labels, of all ranks. None when told to stop."""
        self.model.train()
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches):
            if self.ranks.agree(stop()):
                return None
            self._seed_dropout(number)
            loss = self._loss(batch) / labels
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.ranks.add_up([total, *(p.grad for p in self.model.parameters() if p.grad is not None)])
        return total

    def _loss(self, batch: Batch) -> Tensor:
        batch = batch.to(self.device)
        if self.compiled:
            batch = compiled.padded(batch, self.config.micro_batch * self.pack.context_len)
        return batch_loss(self.model, batch)

    def _seed_dropout(self, number: int) -> None:
        """What is dropped in a micro-batch hangs on its place in the data alone: whichever rank works it."""
        if self.config.model.dropout:
            place = self.contexts_seen + (self.ranks.rank + number * self.ranks.size) * self.config.micro_batch
            torch.manual_seed(hash_seed(self.config.seed, place, DROPOUT))

    @torch.no_grad()
    def evaluate(self) -> float | None:
        """Mean loss over the labelled tokens of the val contexts; None when the pack has none. Of weights()."""
        self.model.eval()
        with self._averaged():
            return self._mean_val_loss()

    def _mean_val_loss(self) -> float | None:
        available = self.pack.num_contexts("val")
        wanted = min(self.config.eval_contexts, available)
        chosen = [i * available // wanted for i in range(wanted)]
        total, labels = 0.0, 0
        for i in range(0, wanted, self.config.micro_batch):
            batch = read_batch(self.pack, "val", chosen[i : i + self.config.micro_batch])
            total += self._loss(batch).item()
            labels += len(batch.labels_R)
        return total / labels if labels else None

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ema is None else self.ema.shown(self.model)

    def weights(self) -> dict[str, Tensor]:
        """The ones to keep as a model: the average where there is one."""
        return dict(self.model.state_dict()) | (self.ema.average if self.ema is not None else {})

    def look_after_checkpoints(self) -> None:
        """Between two steps: what became of the last one; the next one, where it is due."""
        if not self.ranks.is_first:
            return
        self.writer.look()
        if not self.writer.has_room:
            self.writer.make_room(self._checkpoint())
        if self.save_is_due():
            self.save_behind()

    def save_is_due(self) -> bool:
        late = time.monotonic() - self.saved_at > self.config.checkpoint_every_s
        pinned = self.config.pin_every is not None and self.step % self.config.pin_every == 0
        return late or pinned or self.step % self.config.checkpoint_every == 0

    def save(self) -> None:
        """The last finished step is on the disk when this returns. Raises OSError (a full disk)."""
        if not self.ranks.is_first:
            return
        self.writer.finish()
        if self.step not in (0, self.writer.saved_step):
            self.writer.write(self._checkpoint())
            self.saved_at = time.monotonic()

    def save_behind(self) -> None:
        """The same while training goes on; a full disk is told, and ends nothing."""
        if self.step != self.writer.saved_step:  # told to save by who saw the step
            self.writer.begin(self._checkpoint())
        self.saved_at = time.monotonic()

    def _checkpoint(self) -> Checkpoint:
        return taken(self)

    def _as_told(self, found: Checkpoint | None) -> Checkpoint | None:
        """What rank 0 found, on every rank: two that look may see two things."""
        step = self.ranks.told(0 if found is None else found.step)
        if self.ranks.is_first or step == 0:
            return found
        return checkpoint.load(self.workdir / "checkpoint" / checkpoint.name_of(step))


def silent(_: str) -> None:
    """Tell nobody."""


def batch_loss(model: GPT, batch: Batch) -> Tensor:
    """The loss summed over a micro-batch's labels."""
    hidden_RC = model(batch.tokens_T, batch.docs, batch.rows_R)
    return labelled_loss(hidden_RC, model.head_weight, batch.labels_R)


def learning_rate(config: TrainConfig, step: int) -> float:
    return schedule.learning_rate(
        step,
        steps=config.steps,
        peak=config.lr,
        floor=config.min_lr,
        warmup=config.warmup_steps,
        decay=config.decay,
    )


def stream_dtype(name: str, device: torch.device) -> torch.dtype:
    """One of config.DTYPES as torch's. bf16 needs no loss scaling and CUDA cards are built for it; the CPU is exact."""
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def use_threads(num: int | None, processes: int = 1) -> None:
    """So many threads, or this process's share of what it may use. Resume is exact only with the same number."""
    torch.set_num_threads(num or max(1, len(os.sched_getaffinity(0)) // processes))
