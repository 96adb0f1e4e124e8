"""The shape of a GPT, and how a run trains one: settings, refused here when they can't work. Standard library only."""

from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt import schedule


class BadConfig(ValueError):
    """A model or a training that can't be: what we got, what we take."""


class Diverged(BadConfig):
    """The loss is no number any more: the settings drove it there, and would again."""


CHUNK_ROWS = 2048  # logits at a time: 2,048-4,096 are few big matmuls, 512 cost a third more (pytorch issue 124480)
ATTENTIONS = ("auto", "loop", "bucket", "varlen")  # auto, and the backends of gpt/attention.py
CHOICES = {"pos": ("learned", "rope"), "norm": ("layer", "rms"), "mlp": ("gelu", "relu2", "swiglu")}
OPTIMIZERS = ("adamw", "muon", "adamw8bit")
COMPILES = ("auto", "on", "off")  # auto: on CUDA, where what it takes is there
DTYPES = ("auto", "float32", "bfloat16")  # of the stream; auto: bfloat16 on CUDA, float32 elsewhere
# What a run takes where it says nothing itself. Each is a switch of its own; docs/log.md says what each one gives.
PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "pos": "learned", "norm": "layer", "mlp": "gelu", "qk_norm": False, "bias": True, "tied": False,
        "optimizer": "adamw", "decay": "cosine",
    },
    "modern": {
        "pos": "rope", "norm": "rms", "mlp": "swiglu", "qk_norm": True, "bias": False, "tied": False,
        "optimizer": "muon", "decay": "wsd",
    },
}  # fmt: skip


def chunk_rows(vocab_size: int) -> int:
    """Rows of logits at a time: more of a small vocabulary, for as much memory as CHUNK_ROWS take of 32,000."""
    return max(CHUNK_ROWS, CHUNK_ROWS * 32_000 // vocab_size)


@dataclass(frozen=True)
class GPTConfig:
    """GPT-2's names and shape by default; every field is written into the model's config.json.

    n_kv_head: key/value heads, n_head / n_kv_head query heads share one (None = n_head, no sharing).
    num_positions: rows of the learned position table (None = context_len); unused with pos="rope".
    bias: biases in the linear layers and the layer norms. tied: the head is the token embedding.
    qk_norm: normalise each query and key head before attention.
    """

    n_layer: int = 18
    n_head: int = 12
    n_kv_head: int | None = None
    n_embd: int = 768
    vocab_size: int = 32_000
    context_len: int = 4096
    num_positions: int | None = None
    bias: bool = True
    pos: str = "learned"
    norm: str = "layer"
    mlp: str = "gelu"
    tied: bool = False
    qk_norm: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "vocab_size", "context_len"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name}={getattr(self, name)}: take 1 or more")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise BadConfig(f"{name}={getattr(self, name)!r}: take one of {', '.join(choices)}")
        if self.n_embd % self.n_head or (self.pos == "rope" and self.head_size % 2):
            raise BadConfig(
                f"n_embd={self.n_embd} does not split into n_head={self.n_head} heads"
                f"{' of an even size' if self.pos == 'rope' else ''}: take a multiple"
            )
        if self.kv_heads < 1 or self.n_head % self.kv_heads:
            raise BadConfig(f"n_kv_head={self.n_kv_head} does not divide n_head={self.n_head}")
        if self.positions < self.context_len:
            raise BadConfig(f"num_positions={self.num_positions} is less than context_len={self.context_len}")
        if not 0 <= self.dropout < 1:
            raise BadConfig(f"dropout={self.dropout}: take 0 to below 1")

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def mlp_width(self) -> int:
        """Columns inside the MLP. A gate is a third matrix: two thirds of the width, to 64, hold as many weights."""
        return -(-8 * self.n_embd // 192) * 64 if self.mlp == "swiglu" else 4 * self.n_embd

    @property
    def mlp_weights(self) -> int:
        return (3 if self.mlp == "swiglu" else 2) * self.n_embd * self.mlp_width

    @property
    def positions(self) -> int:
        return self.context_len if self.num_positions is None else self.num_positions

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> "GPTConfig":
        """A config.json's content. Raises BadConfig for a field this version does not know."""
        if unknown := set(given) - {field.name for field in fields(cls)}:
            raise BadConfig(f"config.json has {', '.join(sorted(unknown))}, which this version does not know: update")
        return cls(**given)


def check_same_shape(name: str, given: GPTConfig, wanted: GPTConfig) -> None:
    """Raises BadConfig naming what differs between a kept model and the one asked for."""
    now, then = ({**shape.to_json(), "num_positions": shape.positions} for shape in (wanted, given))
    free = {"dropout", "context_len"} | ({"num_positions"} if wanted.pos == "rope" else set())
    differing = [field for field in now if field not in free and now[field] != then[field]]
    if differing:
        raise BadConfig(
            f"{name} has {', '.join(f'{field}={then[field]}' for field in differing)}, this run "
            f"{', '.join(f'{field}={now[field]}' for field in differing)}: a run begins with weights of its own shape"
        )


@dataclass(frozen=True)
class TrainConfig:
    """One optimizer step is grad_accum micro-batches of micro_batch contexts; the loss is per labelled token of all.

    weight_decay: phases (from_epoch, value): 0.1, then 0.05 once two epochs are done.
    init: a folder of models/ whose weights the run begins with; None: drawn by the seed.
    eval_contexts: val contexts per evaluation, spread over the split, always the same ones.
    checkpoint_every_s: also after this much time, for slow machines.
    pin_every: the checkpoint of every so many steps is kept for good; None: only the newest ones are.
    optimizer: "adamw"; "adamw8bit", whose moments take a byte each; "muon" for the matrices of the blocks, with AdamW
    for the rest.
    ema_decay: of an average of the weights, which is then what is evaluated and kept as a model; None: the newest are.
    dtype: of what flows between the weights, one of DTYPES; the weights themselves are float32 always.
    compile: the blocks by torch.compile, one of COMPILES.
    deterministic: the same bits from the same run again, on CUDA too, where other kernels would be faster.
    recompute: keep only each block's input for backward, and work the rest out again: less memory, more time.
    threads: of the CPU; None: as many as the process may use.
    max_deviations: a step whose loss lies further above the last ones is skipped; None: only one that is no number.
    max_skips: steps skipped in a row before the run goes back to its last checkpoint. max_rollbacks: then it ends.
    """

    pack: Path
    model: GPTConfig
    steps: int
    micro_batch: int = 3
    grad_accum: int = 40
    lr: float = 6e-4
    min_lr: float = 6e-5
    warmup_steps: int = 200
    decay: str = "cosine"
    optimizer: str = "adamw"
    ema_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    grad_clip: float = 1.0
    weight_decay: tuple[tuple[float, float], ...] = ((0.0, 0.1), (2.0, 0.05))
    seed: int = 0
    init: Path | None = None
    eval_every: int = 100
    eval_contexts: int = 32
    checkpoint_every: int = 200
    checkpoint_every_s: float = 300.0
    pin_every: int | None = None
    attention: str = "auto"
    dtype: str = "auto"
    compile: str = "auto"
    deterministic: bool = False
    recompute: bool = False
    threads: int | None = None
    max_deviations: float | None = None
    max_skips: int = 5
    max_rollbacks: int = 2
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("steps", "micro_batch", "grad_accum", "eval_every", "eval_contexts", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name}={getattr(self, name)}: take 1 or more")
        if self.lr <= 0 or not 0 <= self.min_lr <= self.lr or self.grad_clip <= 0:
            raise BadConfig(
                f"lr={self.lr}, min_lr={self.min_lr}, grad_clip={self.grad_clip}: take lr and grad_clip above 0, "
                "min_lr from 0 to lr"
            )
        if (
            self.max_skips < 0
            or self.max_rollbacks < 0
            or (self.max_deviations is not None and self.max_deviations <= 0)
        ):
            raise BadConfig(
                f"max_deviations={self.max_deviations}, max_skips={self.max_skips}, max_rollbacks="
                f"{self.max_rollbacks}: take above 0 or none, and 0 or more"
            )
        self._check_numbers()
        if self.decay not in schedule.DECAYS:
            raise BadConfig(f"decay={self.decay!r}: take one of {', '.join(schedule.DECAYS)}")
        if self.optimizer not in OPTIMIZERS:
            raise BadConfig(f"optimizer={self.optimizer!r}: take one of {', '.join(OPTIMIZERS)}")
        if self.optimizer == "adamw8bit" and find_spec("torchao") is None:
            raise BadConfig(
                "optimizer='adamw8bit' is made with the package torchao, which is not here: install it with "
                "`pip install torchao`, or take adamw"
            )
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise BadConfig(f"ema_decay={self.ema_decay}: take 0 to below 1, or none")
        if self.pin_every is not None and self.pin_every < 1:
            raise BadConfig(f"pin_every={self.pin_every}: take 1 or more, or none")
        if self.attention not in ATTENTIONS:
            raise BadConfig(f"attention={self.attention!r}: take one of {', '.join(ATTENTIONS)}")
        for name, choices in {"dtype": DTYPES, "compile": COMPILES}.items():
            if getattr(self, name) not in choices:
                raise BadConfig(f"{name}={getattr(self, name)!r}: take one of {', '.join(choices)}")
        starts = [start for start, _ in self.weight_decay]
        if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise BadConfig(f"weight_decay={self.weight_decay}: its phases begin at epoch 0 and ascend")

    def _check_numbers(self) -> None:
        """What torch and numpy would refuse, or obey to nobody's good, once the run has begun."""
        if self.warmup_steps < 0 or self.eps <= 0 or not all(0 <= beta < 1 for beta in self.betas):
            raise BadConfig(
                f"warmup_steps={self.warmup_steps}, eps={self.eps}, betas={self.betas}: take 0 or more, above 0, and "
                f"two from 0 to below 1"
            )
        if any(decay < 0 for _, decay in self.weight_decay):
            raise BadConfig(f"weight_decay={self.weight_decay}: take 0 or more in each phase")
        if not 0 <= self.seed < 2**63:
            raise BadConfig(f"seed={self.seed}: take 0 to below 2^63")
        if self.threads is not None and self.threads < 1:
            raise BadConfig(f"threads={self.threads}: take 1 or more, or none for all")

    def to_json(self) -> dict[str, Any]:
        """Paths as text."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> "TrainConfig":
        """The reverse of to_json. Raises BadConfig for a field that is not one, or is needed."""
        known = {field.name for field in fields(cls)}
        if unknown := set(given) - known:
            raise BadConfig(f"a training has no {', '.join(sorted(unknown))}: take {', '.join(sorted(known))}")
        if missing := {"pack", "model", "steps"} - set(given):
            raise BadConfig(f"a training needs {', '.join(sorted(missing))}")
        paths = {name: Path(given[name]) for name in ("pack", "init") if given.get(name) is not None}
        lists = {name: _tuple(value) for name, value in given.items() if isinstance(value, list)}
        return cls(**{**given, **lists, **paths, "model": GPTConfig.from_json(given["model"])})

    @property
    def contexts_per_step(self) -> int:
        return self.micro_batch * self.grad_accum


def _tuple(value: Any) -> Any:
    return tuple(_tuple(one) for one in value) if isinstance(value, list) else value
