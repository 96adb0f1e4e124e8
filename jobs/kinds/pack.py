"""Pack a factory's records into contexts to train on, split by article. Goes on from its journal."""

from dataclasses import dataclass
from pathlib import Path

from jobs.contract import BadArgs, HomePath, Run, Unfinished
from jobs.finished import check_place, check_unchanged

LANE = "cpu"
PLACE = "packs"
FACTORY, TOKENIZER, OUT = HomePath("factory.db"), HomePath("tokenizers/main"), HomePath("packs/main")
LIMITS = {
    "context_len": (32, 2**20),
    "shard_contexts": (1, 2**16),
    "window": (1, 2**16),
    "seed": (0, 2**63),
}


@dataclass(frozen=True)
class Args:
    factory: HomePath = FACTORY
    tokenizer: HomePath = TOKENIZER
    out: HomePath = OUT
    context_len: int = 4096
    val_articles: float = 0.1  # share of the articles kept from training
    seed: int = 0
    shard_contexts: int = 1024  # contexts in one file
    window: int = 4096  # records at hand to fill a context up with

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise BadArgs(f"pack takes {name} from {least} to {most}, not {getattr(self, name)}")
        if not 0 < self.val_articles < 1:
            raise BadArgs(f"pack takes val_articles between 0 and 1, a share of the articles, not {self.val_articles}")
        check_place(self.out, PLACE, "pack")


def check(args: Args, home: Path) -> None:
    """Refuse to queue what would change a finished pack."""
    check_unchanged(args, home)


def run(args: Args, job: Run, prepared: object = None) -> None:
    from gpt import source
    from gpt.pack import PackConfig, pack
    from gpt.shuffle import BadPack
    from gpt.tokenizer import BadTokenizer, Tokenizer

    settings = (args.context_len, args.seed, args.shard_contexts, args.val_articles, args.window)
    try:
        tokenizer = Tokenizer.load(job.path(args.tokenizer))
        with source.opened(job.path(args.factory)) as db:
            manifest = pack(
                db,
                tokenizer,
                job.path(args.out),
                PackConfig(*settings),
                run=job.id,
                tell=lambda done, total, speed: job.progress(done, total, "records", tokens_per_s=speed),
                stop=lambda: job.stop_requested,
            )
    except (source.BadSource, BadTokenizer, BadPack) as error:
        raise BadArgs(str(error)) from error
    except source.Stopped as error:
        raise Unfinished from error
    counts, fill = manifest["counts"], manifest["fill_share"]
    job.note(
        f"{counts['train']['num_contexts']} contexts to train on, {fill['train']:.2%} full, "
        f"{counts['val']['num_contexts']} for validation, {manifest['rejected']['count']} records too long"
        + (f", {unasked} questions too long to be asked" if (unasked := manifest.get("questions_too_long")) else "")
    )
