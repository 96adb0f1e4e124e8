"""A tokenizer gives every text back, keeps years and terms whole, and lets nobody type a tag."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.factory import open_factory, transaction
from datagen.files import read_manifest
from gpt import source
from gpt.source import Stopped
from gpt.tokenizer import MODEL_FILE, TAGS, BadTokenizer, Tokenizer, economy
from gpt.train_tokenizer import (
    MONTHS,
    YEARS,
    TokenizerConfig,
    check_single_tokens,
    make_tokenizer,
    read_report,
    train,
)
from tests.gpt.small_factory import make_factory

TERMS = ("Wehrmacht", "Pearl Harbor", "U-boat")
CONFIG = TokenizerConfig(vocab_size=800, terms=TERMS)
TEXTS = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from([*TAGS, "▁", " ", "\n", "1944", "May", "Pearl Harbor", "<0x0A>", "<unk>", "é", "\0", "日"])
    ).map("".join),
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tokenizer")
    with source.opened(make_factory(home / "factory.db")) as db:
        make_tokenizer(db, home / "made", home, CONFIG, compare=(690,))
    return home


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder / "made")


@pytest.fixture(scope="session")
def sample(folder: Path) -> Path:
    path = folder / "lines.txt"
    with source.opened(folder / "factory.db") as db:
        source.write_sample(db, path, max_characters=10**6, seed=0)
    return path


@given(text=TEXTS)
def test_every_text_comes_back_exactly(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(texts=st.lists(TEXTS, max_size=5))
def test_many_texts_at_once_are_encoded_as_each_alone(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert tokenizer.encode_all(texts) == [tokenizer.encode(text) for text in texts]


@given(text=TEXTS)
def test_a_tag_that_a_user_types_never_becomes_a_tag(tokenizer: Tokenizer, text: str) -> None:
    assert not {tokenizer.endoftext, tokenizer.im_start, tokenizer.im_end} & set(tokenizer.encode(text))


def test_years_months_and_terms_are_one_token_alone_and_inside_a_sentence(tokenizer: Tokenizer) -> None:
    for text in (*YEARS, *MONTHS, *TERMS):
        assert len(tokenizer.encode(text)) == 1
        without, with_it = tokenizer.encode("It was."), tokenizer.encode(f"It was {text}.")
        assert len(with_it) == len(without) + 1, text


def test_a_number_that_is_no_year_is_spelt_digit_by_digit(tokenizer: Tokenizer) -> None:
    assert [tokenizer.piece(token) for token in tokenizer.encode("156,000")] == ["1", "5", "6", ",", "0", "0", "0"]


@given(question=TEXTS, answer=TEXTS)
def test_a_document_reads_as_chatml_and_its_loss_span_is_the_answer_and_its_end(
    tokenizer: Tokenizer, question: str, answer: str
) -> None:
    tokens, start, end = tokenizer.document(question, answer)
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n<|endoftext|>"
    assert tokenizer.decode(tokens) == text
    assert tokenizer.decode(tokens[start:end]) == answer + "<|im_end|>"
    assert tokens[:start] == tokenizer.prompt(question)
    assert [tokens.count(tag) for tag in (tokenizer.im_start, tokenizer.im_end, tokenizer.endoftext)] == [2, 2, 1]


@given(question=TEXTS, answer=TEXTS)
def test_a_documents_parts_encode_apart_as_they_do_between_the_tags(
    tokenizer: Tokenizer, question: str, answer: str
) -> None:
    whole = [tokenizer.im_start, *tokenizer.encode(f"user\n{question}"), tokenizer.im_end, *tokenizer.encode("\n")]
    whole += [tokenizer.im_start, *tokenizer.encode(f"assistant\n{answer}"), tokenizer.im_end, *tokenizer.encode("\n")]
    assert tokenizer.document(question, answer)[0] == [*whole, tokenizer.endoftext]


def test_half_a_character_reads_as_a_replacement_and_not_as_an_error(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("日")[:2]) == "\ufffd"


def test_a_lone_surrogate_is_refused_with_a_sentence(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="half of a character"):
        tokenizer.encode("\ud800")


def test_a_vocabulary_too_large_for_the_text_names_the_largest_that_works(sample: Path) -> None:
    with pytest.raises(BadTokenizer, match=r"vocab_size 30000 is more than this text can fill: take (\d+)") as refused:
        train(sample, TokenizerConfig(30_000))
    largest = int(str(refused.value).split("take ")[1].split()[0])
    assert train(sample, TokenizerConfig(largest)).vocab_size == largest


def test_a_vocabulary_too_small_for_what_is_forced_is_refused(sample: Path) -> None:
    with pytest.raises(BadTokenizer, match="no room for the forced tokens"):
        train(sample, TokenizerConfig(300))


def test_the_same_text_gives_the_same_bytes(folder: Path, tokenizer: Tokenizer) -> None:
    with source.opened(folder / "factory.db") as db:
        again = make_tokenizer(db, folder / "again", folder, CONFIG)
    assert Tokenizer.load(folder / "again").model_bytes == tokenizer.model_bytes
    assert again["sha256"][MODEL_FILE] == tokenizer.sha256


def test_the_report_stands_beside_smaller_vocabularies_on_text_that_was_held_out(folder: Path) -> None:
    report = read_report(folder / "made")
    large, small = report["sizes"]["800"], report["sizes"]["690"]
    assert list(report["sizes"]) == ["800", "690"]
    assert report["measured_on"]["num_held_out_lines"] > 0
    assert 1 < large["tokens_per_word"] < small["tokens_per_word"]
    assert 0 < small["whole_words"] <= large["whole_words"] < 1
    assert small["tokens_saved"] == 0
    assert large["tokens_saved"] == pytest.approx(1 - large["num_tokens"] / small["num_tokens"])
    assert read_manifest(folder / "made")["tokens_per_word"] == large["tokens_per_word"]


def test_tokens_and_whole_words_are_counted_as_a_reader_would(tokenizer: Tokenizer) -> None:
    text = "In May 1944 the Wehrmacht xqzvw."
    found = economy(tokenizer, [text, text])
    words = [len(tokenizer.encode(f" {word}")) == 1 for word in ("In", "May", "the", "Wehrmacht", "xqzvw")]
    assert words[1]
    assert words[3]
    assert not words[4]
    assert found.num_tokens == 2 * len(tokenizer.encode(text))
    assert found.tokens_per_word == found.num_tokens / 12
    assert found.whole_words == sum(words) / 5


def test_a_corpus_many_times_as_large_gives_no_larger_sample_to_train_on(tmp_path: Path) -> None:
    sizes = []
    for articles in (20, 200):
        with source.opened(make_factory(tmp_path / f"{articles}.db", num_articles=articles)) as db:
            path = tmp_path / f"{articles}.txt"
            sizes.append((source.count_characters(db), source.write_sample(db, path, max_characters=9000, seed=1)))
    (small, first), (large, second) = sizes
    assert large > 9 * small > 9 * 9000, "else it proves nothing"
    for sample in (first, second):
        assert 0.6 * 9000 < sample.num_characters < 1.3 * 9000


def test_a_text_without_line_breaks_is_drawn_in_parts_not_whole(tmp_path: Path) -> None:
    path = make_factory(tmp_path / "factory.db")
    with closing(open_factory(path)) as db, transaction(db):
        db.execute("update article set text = ? where id = 3", ("seven words that never come to end. " * 20_000,))
    with source.opened(path) as db:
        lines = list(source.training_lines(db))
        sample = source.write_sample(db, tmp_path / "sample.txt", max_characters=200_000, seed=0)
    assert max(map(len, lines)) == source.LONGEST_LINE
    assert sum(map(len, lines)) == 20_000 * 36 + sum(len(line) for line in lines if "never come" not in line)
    assert 0 < sample.num_characters < 500_000


def test_more_pieces_take_fewer_tokens_per_word(sample: Path) -> None:
    lines = sample.read_text().splitlines()
    few, many = (economy(train(sample, TokenizerConfig(size)), lines) for size in (650, 800))
    assert many.num_tokens < few.num_tokens


def test_a_text_without_words_has_no_tokens_per_word(tokenizer: Tokenizer) -> None:
    found = economy(tokenizer, ["", " "])
    assert (found.tokens_per_word, found.whole_words) == (None, None)


def test_held_out_lines_are_never_trained_on_and_the_limit_holds(folder: Path) -> None:
    with source.opened(folder / "factory.db") as db:
        total = source.count_characters(db)
        lines = list(source.training_lines(db))
        sample = source.write_sample(db, folder / "half.txt", max_characters=total // 2, seed=3)
        again = source.write_sample(db, folder / "again.txt", max_characters=total // 2, seed=3)
    written = (folder / "half.txt").read_text().splitlines()
    assert written == (folder / "again.txt").read_text().splitlines()
    assert sample.held_out == again.held_out
    assert len(written) == sample.num_lines
    assert not Counter(written + sample.held_out) - Counter(lines)
    assert sample.held_out
    assert not set(sample.held_out) & set(written)
    assert 0.35 < sample.num_characters / total < 0.65


def test_a_finished_tokenizer_is_left_alone_and_never_changed(folder: Path) -> None:
    before = (folder / "made" / MODEL_FILE).stat().st_mtime_ns
    with source.opened(folder / "factory.db") as db:
        make_tokenizer(db, folder / "made", folder, CONFIG, compare=(690,))
        with pytest.raises(BadTokenizer, match="made with other config"):
            make_tokenizer(db, folder / "made", folder, TokenizerConfig(700, TERMS), compare=(690,))
    assert (folder / "made" / MODEL_FILE).stat().st_mtime_ns == before


def test_told_to_leave_a_training_ends_and_leaves_no_folder(folder: Path) -> None:
    with source.opened(folder / "factory.db") as db, pytest.raises(Stopped):
        make_tokenizer(db, folder / "never", folder, CONFIG, stop=lambda: True)
    assert not (folder / "never").exists()


def test_told_to_leave_in_the_middle_of_training_the_child_is_gone(folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    large.write_text("\n".join(f"{number * 7919 % 104729:x} {number * 31:x}" for number in range(200_000)))
    with pytest.raises(Stopped):
        train(large, TokenizerConfig(20_000), stop=lambda: True)


def test_a_term_that_did_not_become_one_token_is_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadTokenizer, match="not one token after training: 'Kriegsmarine'"):
        check_single_tokens(tokenizer, ["1944", "Kriegsmarine"])


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a model"])
def test_a_file_that_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(BadTokenizer):
        Tokenizer(content)


def test_a_model_of_somebody_else_lacks_the_tags_and_is_refused(sample: Path, tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=str(sample), model_prefix=str(tmp_path / "other"), vocab_size=100, model_type="bpe", minloglevel=2
    )
    with pytest.raises(BadTokenizer, match="no control piece"):
        Tokenizer.load(tmp_path / "other.model")


def test_a_missing_tokenizer_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadTokenizer, match="run a tokenizer job first"):
        Tokenizer.load(tmp_path / "nowhere")
