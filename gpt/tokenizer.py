"""Text to token ids and back, and how a question and its answer are laid out as one document.

The tokenizer is a SentencePiece BPE model (llama.cpp's `llama` tokenizer reads the same kind) with nothing done to the
text: no normalization, no added space, no removed one, bytes for whatever has no piece. So decode(encode(text)) == text
for every text. The ChatML tags are control pieces: they are set by `document` and never made out of text, whatever a
user types. How one is trained: train_tokenizer.py.
"""

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TAGS = (END_OF_TEXT, IM_START, IM_END)
SPACE = "▁"  # U+2581, SentencePiece's sign for a space; one that stands in the text goes through as three bytes
MODEL_FILE = "tokenizer.model"
NO_PIECE = "\ufffd".encode()
WORD = re.compile(r"[^\W\d_]+")
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class BadTokenizer(Exception):
    """A tokenizer that can't be trained as asked, or a file that is not ours. Told to a person."""


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
        """From a tokenizer.model, or the folder that holds one. Raises BadTokenizer when there is none."""
        try:
            return cls((path / MODEL_FILE if path.is_dir() else path).read_bytes())
        except FileNotFoundError as error:
            raise BadTokenizer(f"there is no {error.filename}: run a tokenizer job first, or name another") from error

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
        """The text of token ids; tags as they are written. Half a character (a cut byte run) reads as U+FFFD, and so
        does an id that has no piece: a model's vocabulary may be larger."""
        pieces = (self._bytes[i] if i < self.vocab_size else NO_PIECE for i in ids)
        return b"".join(pieces).decode(errors="replace")

    def piece(self, token: int) -> str:
        """A token's name in the model: '▁1944', '<|im_end|>', '<0x0A>'."""
        name: str = self._processor.id_to_piece(token)
        return name

    def pieces(self) -> Iterator[tuple[str, float, str]]:
        """(name, score, sort) of every token; sort: unknown, control, user_defined, byte or normal.

        SentencePiece numbers what it was given before its bytes, and what it learned after them.
        """
        first_byte = self._processor.piece_to_id("<0x00>")
        for token in range(self.vocab_size):
            sort = "user_defined" if token < first_byte else "normal"
            for name in ("unknown", "control", "byte"):
                sort = name if getattr(self._processor, f"is_{name}")(token) else sort
            yield self.piece(token), self._processor.get_score(token), sort

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
        return NO_PIECE if self._processor.is_unknown(token) else name.replace(SPACE, " ").encode()


@dataclass(frozen=True)
class Economy:
    """What texts cost a tokenizer. tokens_per_word: for each word between white space. whole_words: the share of words
    (letters alone, as they stand after a space) that are one token. None when the texts hold no word."""

    num_tokens: int
    tokens_per_word: float | None
    whole_words: float | None


def economy(tokenizer: Tokenizer, texts: Iterable[str]) -> Economy:
    num_tokens = num_words = 0
    letters: Counter[str] = Counter()
    for text in texts:
        num_tokens += len(tokenizer.encode(text))
        num_words += len(text.split())
        letters.update(WORD.findall(text))
    whole = sum(times for word, times in letters.items() if len(tokenizer.encode(f" {word}")) == 1)
    per_word = num_tokens / num_words if num_words else None
    return Economy(num_tokens, per_word, whole / letters.total() if letters else None)
