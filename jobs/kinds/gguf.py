"""A model as one file that llama.cpp runs: gguf/<name>/<name>.gguf. What it is, stands in the manifest beside it."""

from dataclasses import dataclass
from pathlib import Path

from jobs.contract import BadArgs, Run

LANE = "cpu"


@dataclass(frozen=True)
class Args:
    model: str  # a name in models/
    out: str | None = None  # the name in gguf/; none: the model's

    def __post_init__(self) -> None:
        from gpt.archive import check_name
        from gpt.config import BadConfig

        try:
            check_name(self.model)
            check_name(self.out or self.model)
        except BadConfig as error:
            raise BadArgs(f"gguf: {error}") from error


def check(args: Args, home: Path) -> None:
    """Refuse to queue what can't be written. A model that is not there yet may be when it starts."""
    from datagen import files
    from gpt.archive import read_config
    from gpt.to_gguf import architecture_of

    if files.is_complete(folder := home / "models" / args.model):
        try:
            architecture_of(read_config(folder))
        except (OSError, ValueError) as error:  # a BadConfig, or a file that is no config
            raise BadArgs(f"gguf: {error}") from error


def run(args: Args, job: Run, prepared: object = None) -> None:
    from gpt.archive import DamagedModel
    from gpt.config import BadConfig
    from gpt.to_gguf import to_gguf

    folder = job.home / "gguf" / (args.out or args.model)
    try:
        to_gguf(job.home / "models" / args.model, folder)
    except (BadConfig, DamagedModel, FileNotFoundError) as error:
        raise BadArgs(f"gguf: {error}") from error
    job.note(f"{args.model} is gguf/{folder.name}/{folder.name}.gguf: llama-cli -m runs it")
