"""Turn a factory's snippets into question-answer records, without any model. Done items are found and left alone."""

from dataclasses import dataclass
from pathlib import Path

from datagen.records import FAMILIES
from jobs.contract import BadArgs, HomePath, Run

LANE = "cpu"
FACTORY = HomePath("factory.db")


@dataclass(frozen=True)
class Args:
    factory: HomePath = FACTORY
    corpus: HomePath | None = None  # another factory, whose articles are copied first; none: factory has its own
    families: tuple[str, ...] = FAMILIES
    phrasings_per_snippet: int = 28  # of the Q-PT wordings, chosen by hash
    per_fact: int | None = None  # wordings of one fact in one family at most; none: all there are
    facts_per_article: int | None = None  # none: all; else those with the plainest sentences first
    probe_share: float = 0.15  # of (fact, wording) pairs, held out to be asked and never taught
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.families or not set(self.families) <= set(FAMILIES):
            raise BadArgs(f"families={','.join(self.families)!r} does not fit: take some of {','.join(FAMILIES)}")
        if len(set(self.families)) < len(self.families):
            raise BadArgs(f"families={','.join(self.families)!r} names one twice: take each once")
        if not 0 <= self.probe_share < 1:
            raise BadArgs(f"probe_share is a share of at least 0 and less than 1, not {self.probe_share}")
        for name in ("phrasings_per_snippet", "per_fact", "facts_per_article"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadArgs(f"{name} is a whole number from 1 on, not {value}: to make nothing, leave families out")


def run(args: Args, job: Run, prepared: object = None) -> None:
    from datagen.factory import BadFactory, open_factory
    from datagen.generate import Settings, generate
    from datagen.phrasings import Choice

    path = job.path(args.factory)
    if args.corpus is not None:
        bring_articles(job.path(args.corpus), path, job)
    if not path.is_file():
        raise BadArgs(
            f"there is no factory {args.factory}: make it with corpus, or name another with --set factory=..."
        )
    choice = Choice(args.per_fact, args.probe_share, args.phrasings_per_snippet, args.seed)
    try:
        db = open_factory(path)
        try:
            for progress in generate(db, Settings(args.families, choice, args.facts_per_article)):
                job.progress(progress.done, progress.total, "items", records=progress.records, rejects=progress.rejects)
                job.stop_if_asked()
        finally:
            db.close()
    except BadFactory as error:
        raise BadArgs(str(error)) from error


def bring_articles(corpus: Path, factory: Path, job: Run) -> None:
    """Copy the corpus to where the records will stand, once: other settings get a factory of their own."""
    from datagen.factory import BadFactory, copy_factory, same_articles

    try:
        if not factory.is_file():
            copy_factory(corpus, factory, tell=job.stop_if_asked)
        if not same_articles(corpus, factory):
            raise BadFactory(f"{factory} holds other articles than {corpus}: name another factory, or leave corpus out")
    except BadFactory as error:
        raise BadArgs(str(error)) from error
