"""A tokenizer, trained on the text of a factory: forced single tokens, and a report beside smaller vocabularies.

Years, months and terms are one token each, with and without the space before them; checked after training. They match
inside words too: 'Mayor' begins with the token of a month. Roles are forced because every document holds them.

Training runs in a process of its own: it is one long call into C++ that nothing could interrupt politely.
"""

import io
import json
import os
import re
import signal
import sqlite3
import string
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sentencepiece

from datagen import files
from gpt import source
from gpt.source import Stopped
from gpt.tokenizer import MODEL_FILE, SPACE, TAGS, BadTokenizer, Tokenizer, economy

ROLES = ("user", "assistant")
YEARS = tuple(str(year) for year in range(1900, 2000))
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
REPORT = "report.json"
POLL_S = 0.05


@dataclass(frozen=True)
class TokenizerConfig:
    """What to train. terms: words or phrases that must be one token, e.g. 'Wehrmacht'. max_characters: how much of the
    factory's text is read for it, drawn by seed."""

    vocab_size: int = 32_000
    terms: tuple[str, ...] = ()
    max_characters: int = 30_000_000
    seed: int = 0

    def single_tokens(self) -> list[str]:
        """What must be one token: roles, years, months, terms; each once."""
        return list(dict.fromkeys([*ROLES, *YEARS, *MONTHS, *self.terms]))

    def forced_pieces(self) -> list[str]:
        """The pieces that make it so: each as it stands, and with the space before it."""
        signed = [text.replace(" ", SPACE) for text in self.single_tokens()]
        return [piece for text in signed for piece in (text, SPACE + text)]


def make_tokenizer(
    db: sqlite3.Connection,
    folder: Path,
    scratch: Path,
    config: TokenizerConfig,
    *,
    compare: tuple[int, ...] = (),
    run: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a tokenizer on a factory's text into folder. Returns the folder's manifest.

    db: as source.opened gave it. scratch: a folder for the sample. compare: smaller vocabulary sizes, trained on the
    same text for the report alone. run: the job, for the manifest. A finished folder made of the same things, or of
    the same job, is left as it is; one begun is begun again.
    Raises BadTokenizer, Stopped.
    """
    made_with = {"factory": asdict(source.fingerprint(db)), "config": asdict(config), "compare": sorted(compare)}
    given: dict[str, Any] = json.loads(json.dumps(made_with))  # as it will read when it comes back
    if files.is_complete(folder):
        return source.read_finished(folder, given, run, BadTokenizer)
    sample = source.write_sample(
        db, scratch / "sample.txt", max_characters=config.max_characters, seed=config.seed, avoid=SPACE, stop=stop
    )
    trained = train_sizes(sample.path, config, compare, tell, stop)
    tokenizer = trained[config.vocab_size]
    sizes_report = compared(trained, sample.held_out)
    sample.path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    files.write_whole(folder / MODEL_FILE, tokenizer.model_bytes)
    files.write_json(folder / REPORT, {"sizes": sizes_report, "measured_on": sample.facts()})
    manifest = given | {
        "kind": "tokenizer",
        "run": run,
        "vocab_size": tokenizer.vocab_size,
        "sample": sample.facts(),
        "tokens_per_word": sizes_report[config.vocab_size]["tokens_per_word"],
        "single_tokens": len(config.single_tokens()),
        "sha256": {name: files.sha256(folder / name) for name in (MODEL_FILE, REPORT)},
    }
    files.write_manifest(folder, manifest)
    tell(len(trained), len(trained))
    return manifest


def train_sizes(
    sample: Path,
    config: TokenizerConfig,
    compare: Sequence[int],
    tell: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> dict[int, Tokenizer]:
    """The tokenizer that was asked for, and the smaller ones beside it, by size. Raises like train."""
    trained: dict[int, Tokenizer] = {}
    for size in (config.vocab_size, *sorted(compare)):
        tell(len(trained), 1 + len(compare))
        trained[size] = train(sample, replace(config, vocab_size=size), stop)
    return trained


def compared(trained: dict[int, Tokenizer], texts: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Each size's economy on the same texts. tokens_saved: the share of tokens it needs less than the smallest does."""
    found = {size: economy(tokenizer, texts) for size, tokenizer in trained.items()}
    most = found[min(found)].num_tokens
    return {size: asdict(each) | {"tokens_saved": 1 - each.num_tokens / (most or 1)} for size, each in found.items()}


def read_report(folder: Path) -> dict[str, Any]:
    """What the tokenizer job measured, by size: num_tokens, tokens_per_word, whole_words, tokens_saved."""
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    return report


def train(sample: Path, config: TokenizerConfig, stop: Callable[[], bool] = lambda: False) -> Tokenizer:
    """Train on a UTF-8 text file, one stretch of text per line, in a process of its own. Same input, same bytes.

    Raises BadTokenizer when the vocabulary does not fit the text, naming the size that does; Stopped when told to.
    """
    order = json.dumps({"sample": str(sample.absolute()), **asdict(config)})
    command = [sys.executable, "-m", "gpt.train_tokenizer"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        try:
            model, rc = _wait(child, order.encode(), stop)
        finally:
            child.kill()
    if rc == 1:
        raise BadTokenizer(_sentence(model.decode(), config.vocab_size))
    if rc != 0:
        why = signal.Signals(-rc).name if rc < 0 else f"exit {rc}"
        raise RuntimeError(f"the process that trains the tokenizer died ({why}); its log says more")
    tokenizer = Tokenizer(model)
    check_single_tokens(tokenizer, config.single_tokens())
    return tokenizer


def check_single_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    """Each text is one token at a sentence's start and inside one. Raises BadTokenizer."""
    texts = list(texts)
    broken = [text for text in texts if len(tokenizer.encode(text)) != 1]
    broken += [text for text in texts if len(tokenizer.encode(f"x {text}.")) != len(tokenizer.encode("x.")) + 1]
    if broken:
        raise BadTokenizer(f"not one token after training: {', '.join(map(repr, broken[:10]))}")


def _wait(child: "subprocess.Popen[bytes]", order: bytes, stop: Callable[[], bool]) -> tuple[bytes, int]:
    given: bytes | None = order
    while True:
        try:
            out, _ = child.communicate(given, timeout=POLL_S)
            return out, child.returncode
        except subprocess.TimeoutExpired:
            given = None
            if stop():
                raise Stopped from None


def _sentence(error: str, vocab_size: int) -> str:
    """SentencePiece's complaint as one a person can act on."""
    if found := re.search(r"value <= (\d+)", error):
        return f"vocab_size {vocab_size} is more than this text can fill: take {found[1]} or fewer, or more text"
    if found := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return (
            f"vocab_size {vocab_size} has no room for the forced tokens, bytes and letters: take more than {found[1]}"
        )
    return f"SentencePiece refused to train {vocab_size} pieces: {error}"


def _train_here() -> int:
    """The child: an order as JSON on stdin, the model's bytes on stdout; on exit 1 the complaint instead."""
    order = json.load(sys.stdin)
    sample = order.pop("sample")
    config = TokenizerConfig(**order | {"terms": tuple(order["terms"])})
    try:
        model = _sentencepiece_train(sample, config)
    except RuntimeError as error:
        sys.stdout.write(str(error))
        return 1
    sys.stdout.buffer.write(model)
    return 0


def _sentencepiece_train(sample: str, config: TokenizerConfig) -> bytes:
    model = io.BytesIO()
    os.chdir(Path(sample).parent)  # the model keeps the name of its input: a plain name, so the same on every machine
    sentencepiece.SentencePieceTrainer.train(
        input=Path(sample).name,
        model_writer=model,
        model_type="bpe",
        vocab_size=config.vocab_size,
        byte_fallback=True,
        split_digits=True,  # a number that is no year: one token per digit, so no number is a word of its own
        required_chars="".join(sorted(set(string.printable) - set(string.whitespace))),
        control_symbols=list(TAGS),
        user_defined_symbols=config.forced_pieces(),
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        max_sentence_length=2**20,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,  # with more, ties between equally frequent pairs could fall another way
        minloglevel=2,
    )
    return model.getvalue()


if __name__ == "__main__":
    sys.exit(_train_here())
