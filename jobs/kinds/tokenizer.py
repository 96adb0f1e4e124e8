"""Train a tokenizer on a factory's text: years, months and terms as single tokens, a report beside smaller ones."""

from dataclasses import dataclass
from pathlib import Path

from jobs.contract import BadArgs, HomePath, Run, Unfinished
from jobs.finished import check_place, check_unchanged

LANE = "cpu"
PLACE = "tokenizers"
FACTORY, OUT = HomePath("factory.db"), HomePath("tokenizers/main")
MIN_VOCAB_SIZE, MAX_VOCAB_SIZE = 600, 1_000_000  # the forced tokens and bytes alone; what SentencePiece can hold


@dataclass(frozen=True)
class Args:
    factory: HomePath = FACTORY
    out: HomePath = OUT
    vocab_size: int = 32_000
    terms: tuple[str, ...] = (
        *("Wehrmacht", "Luftwaffe", "Kriegsmarine", "Waffen-SS", "Panzer", "Blitzkrieg", "Führer", "Reichstag"),
        *("Hitler", "Churchill", "Stalin", "Roosevelt", "Mussolini", "Eisenhower", "Montgomery", "Rommel", "Zhukov"),
        *("Soviet", "Allied", "Allies", "Axis", "Germany", "German", "Britain", "British", "Japan", "Japanese", "Nazi"),
        *("Stalingrad", "Leningrad", "Normandy", "Pearl Harbor", "Red Army", "Royal Navy", "World War II"),
    )
    compare: tuple[int, ...] = ()  # smaller vocabulary sizes, for the report
    max_characters: int = 30_000_000  # of text to train on
    seed: int = 0

    def __post_init__(self) -> None:
        for size in (self.vocab_size, *self.compare):
            if not MIN_VOCAB_SIZE <= size <= MAX_VOCAB_SIZE:
                raise BadArgs(f"tokenizer takes sizes from {MIN_VOCAB_SIZE} to {MAX_VOCAB_SIZE}, not {size}")
        if any(size >= self.vocab_size for size in self.compare) or len(set(self.compare)) < len(self.compare):
            raise BadArgs(f"compare takes different sizes under vocab_size={self.vocab_size}, not {self.compare}")
        if self.max_characters < 1 or self.seed < 0:
            raise BadArgs(f"tokenizer takes max_characters >= 1 and seed >= 0: {self.max_characters}, {self.seed}")
        check_place(self.out, PLACE, "tokenizer")
        for term in self.terms:
            if not term or term != term.strip() or not term.isprintable() or "▁" in term or term.startswith("<|"):
                raise BadArgs(f"{term!r} can't be a term: take words, without tags, line breaks or spaces at the ends")


def check(args: Args, home: Path) -> None:
    """Refuse to queue what would change a finished tokenizer."""
    check_unchanged(args, home)


def run(args: Args, job: Run, prepared: object = None) -> None:
    from gpt import source
    from gpt.tokenizer import BadTokenizer
    from gpt.train_tokenizer import TokenizerConfig, make_tokenizer, read_report

    config = TokenizerConfig(args.vocab_size, args.terms, args.max_characters, args.seed)
    try:
        with source.opened(job.path(args.factory)) as db:
            make_tokenizer(
                db,
                job.path(args.out),
                job.workdir,
                config,
                compare=args.compare,
                run=job.id,
                tell=lambda done, total: job.progress(done, total, "vocabularies"),
                stop=lambda: job.stop_requested,
            )
    except (source.BadSource, BadTokenizer) as error:
        raise BadArgs(str(error)) from error
    except source.Stopped as error:
        raise Unfinished from error
    for size, found in read_report(job.path(args.out)).get("sizes", {}).items():
        job.note(describe(size, found))


def describe(size: str, found: dict[str, float | None]) -> str:
    """One size of the report, as a sentence."""
    if found["tokens_per_word"] is None or found["whole_words"] is None or found["tokens_saved"] is None:
        return f"{size} pieces; no text was held out to measure them on"
    saved = f", {found['tokens_saved']:.1%} fewer tokens than the smallest" if found["tokens_saved"] else ""
    return (
        f"{size} pieces: {found['tokens_per_word']:.3f} tokens per word, {found['whole_words']:.1%} of words in one "
        f"token{saved}"
    )
