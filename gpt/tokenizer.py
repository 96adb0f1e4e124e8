"""Text to token ids and back, and how a question and its answer are laid out as one document.

The tokenizer is a SentencePiece BPE model (llama.cpp's `llama` tokenizer reads the same kind) with nothing done to the
text: no normalization, no added space, no removed one, bytes for whatever has no piece. So decode(encode(text)) == text
for every text. The ChatML tags are control pieces: they are set by `document` and never made out of text, whatever a
user types. Years, months and terms are one token each, with and without the space before them.

Training runs in a process of its own: it is one long call into C++ that nothing could interrupt politely.
"""

import functools
import hashlib
import json
import os
import re
import signal
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import sentencepiece

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TAGS = (END_OF_TEXT, IM_START, IM_END)
SPACE = "▁"  # U+2581, SentencePiece's sign for a space; one that stands in the text goes through as three bytes
YEARS = tuple(str(year) for year in range(1900, 2000))
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
ROLES = ("user", "assistant")
MODEL_FILE = "tokenizer.model"
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
POLL_S = 0.05


class BadTokenizer(Exception):
    """A tokenizer that can't be trained as asked, or a file that is not ours. Told to a person."""


class Stopped(Exception):
    """Told to leave before the tokenizer was trained. Nothing is written."""


class Tokenizer:
    """A trained model: ids by name, encode, decode, and the layout of a document. Raises BadTokenizer."""

    def __init__(self, model_bytes: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model_bytes)
        except RuntimeError as error:
            raise BadTokenizer(f"this is not a SentencePiece model: {error}; take a {MODEL_FILE} made here") from error
        self.model_bytes = model_bytes
        self.sha256 = hashlib.sha256(model_bytes).hexdigest()
        self.vocab_size: int = self._processor.get_piece_size()
        self.endoftext, self.im_start, self.im_end = (self._tag(tag) for tag in TAGS)
        self._bytes = [self._piece_bytes(i) for i in range(self.vocab_size)]
        self._space_bytes = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
        self._before_question = [self.im_start, *self.encode("user\n")]
        self._before_answer = [self.im_end, *self.encode("\n"), self.im_start, *self.encode("assistant\n")]
        self._after_answer = [self.im_end, *self.encode("\n"), self.endoftext]

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """From a tokenizer.model, or the folder that holds one. Raises FileNotFoundError, BadTokenizer."""
        return cls((path / MODEL_FILE if path.is_dir() else path).read_bytes())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; a tag in it is only text. decode gives the text back exactly."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """encode for many texts in one call. Raises ValueError for a lone surrogate, which is no text."""
        if any(SPACE in text for text in texts):
            return [self._encode_with_space_signs(text) if SPACE in text else self.encode(text) for text in texts]
        try:
            ids: list[list[int]] = self._processor.encode(list(texts), out_type=int, num_threads=1)
        except TypeError as error:
            raise ValueError("a text holds half of a character (a lone surrogate): it can't be encoded") from error
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; tags as they are written. Half a character (a cut byte run) reads as U+FFFD."""
        return b"".join(self._bytes[i] for i in ids).decode(errors="replace")

    def piece(self, token: int) -> str:
        """A token's name in the model: '▁1944', '<|im_end|>', '<0x0A>'."""
        name: str = self._processor.id_to_piece(token)
        return name

    def prompt(self, question: str) -> list[int]:
        """A question's tokens up to where the answer begins: what a model is given to answer."""
        return [*self._before_question, *self.encode(question), *self._before_answer]

    def document(self, question: str, answer: str) -> tuple[list[int], int, int]:
        """(tokens, loss_start, loss_end): tokens[loss_start:loss_end] is the answer and its <|im_end|>.

        <|im_start|>user\\n{question}<|im_end|>\\n<|im_start|>assistant\\n{answer}<|im_end|>\\n<|endoftext|>
        A newline is a byte of its own and joins with nothing, so the parts may be encoded apart.
        """
        return self.lay_out(*self.encode_all([question, answer]))

    def lay_out(self, question: list[int], answer: list[int]) -> tuple[list[int], int, int]:
        """document, of a question and an answer that are encoded already."""
        tokens = self._before_question + question + self._before_answer + answer + self._after_answer
        start = len(self._before_question) + len(question) + len(self._before_answer)
        return tokens, start, start + len(answer) + 1

    def _encode_with_space_signs(self, text: str) -> list[int]:
        first, *rest = self.encode_all(text.split(SPACE))
        return functools.reduce(lambda ids, part: ids + self._space_bytes + part, rest, first)

    def _tag(self, tag: str) -> int:
        token: int = self._processor.piece_to_id(tag)
        if not self._processor.is_control(token):
            raise BadTokenizer(f"the model has no control piece {tag}: take one made by the tokenizer job")
        return token

    def _piece_bytes(self, token: int) -> bytes:
        name = self.piece(token)
        if self._processor.is_byte(token):
            return bytes.fromhex(BYTE_PIECE.fullmatch(name)[1])  # type: ignore[index]  # a byte piece has this name
        return "\ufffd".encode() if self._processor.is_unknown(token) else name.replace(SPACE, " ").encode()


@dataclass(frozen=True)
class TokenizerConfig:
    """What to train. terms: words or phrases that must be one token, e.g. 'Wehrmacht'."""

    vocab_size: int = 32_000
    terms: tuple[str, ...] = ()

    def single_tokens(self) -> list[str]:
        """What must be one token: roles, years, months, terms; each once."""
        return list(dict.fromkeys([*ROLES, *YEARS, *MONTHS, *self.terms]))

    def forced_pieces(self) -> list[str]:
        """The pieces that make it so: each as it stands, and with the space before it."""
        signed = [text.replace(" ", SPACE) for text in self.single_tokens()]
        return [piece for text in signed for piece in (text, SPACE + text)]


def check_terms(terms: Iterable[str]) -> None:
    """Raises BadTokenizer for a term that can't be one token."""
    for term in terms:
        if not term or term != term.strip() or re.search(f"[\\x00-\\x1f,\x7f{SPACE}]", term) or term in TAGS:
            raise BadTokenizer(
                f"{term!r} can't be a term: take one or more words, with no comma, tag, line break or space at its ends"
            )


def train(sample: Path, config: TokenizerConfig, stop: Callable[[], bool] = lambda: False) -> Tokenizer:
    """Train on a UTF-8 text file, one stretch of text per line, in a process of its own. Same input, same bytes.

    Raises BadTokenizer when the vocabulary does not fit the text, naming the size that does; Stopped when told to.
    """
    check_terms(config.terms)
    order = json.dumps({"sample": str(sample), **asdict(config)})
    command = [sys.executable, "-m", "gpt.tokenizer"]
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
    """Each text is one token at a sentence's start and inside one; each tag is one id. Raises BadTokenizer."""
    texts = list(texts)
    broken = [text for text in texts if len(tokenizer.encode(text)) != 1]
    broken += [text for text in texts if len(tokenizer.encode(f"x {text}.")) != len(tokenizer.encode("x.")) + 1]
    if broken:
        raise BadTokenizer(f"not one token after training: {', '.join(map(repr, broken[:10]))}")


def tokens_per_word(tokenizer: Tokenizer, texts: Iterable[str]) -> float | None:
    """Tokens for each whitespace-separated word of the texts; None when they hold no word."""
    tokens = words = 0
    for text in texts:
        tokens += len(tokenizer.encode(text))
        words += len(text.split())
    return tokens / words if words else None


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
    config = TokenizerConfig(order["vocab_size"], tuple(order["terms"]))
    try:
        model = _sentencepiece_train(order["sample"], config)
    except RuntimeError as error:
        sys.stdout.write(str(error))
        return 1
    sys.stdout.buffer.write(model)
    return 0


def _sentencepiece_train(sample: str, config: TokenizerConfig) -> bytes:
    import io

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=sample,
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
    started = time.monotonic()
    code = _train_here()
    print(f"tokenizer trained in {time.monotonic() - started:.1f} s", file=sys.stderr)
    sys.exit(code)
