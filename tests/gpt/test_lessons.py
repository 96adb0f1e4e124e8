"""What earlier trainers learnt the hard way, held by small models that are really trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from gpt import source
from gpt.config import TrainConfig
from gpt.model import GPT
from gpt.pack import PackConfig, pack
from gpt.sample import Completion, Sampling, generate
from gpt.tokenizer import Tokenizer
from gpt.train import train
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer
from tests.gpt.small_factory import make_factory
from tests.gpt.tiny import shape

STEPS, LONGEST = 200, 24
QUESTIONS = (
    "When did assault 1 of the Siege of Gorki 6 begin?",
    "In which year was assault 9 of the Siege of Ys fought?",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lessons")
    with source.opened(make_factory(folder / "factory.db", num_articles=12)) as db:
        make_tokenizer(db, folder / "tokenizer", folder, TokenizerConfig(760))
        pack(db, Tokenizer.load(folder / "tokenizer"), folder / "pack", PackConfig(256, val_articles=0.1))
    return folder


def trained(home: Path, name: str, steps: int) -> GPT:
    config = TrainConfig(
        home / "pack",
        replace(shape(), n_embd=64, vocab_size=760, context_len=256, pos="rope"),
        steps=steps,
        micro_batch=2,
        grad_accum=1,
        lr=5e-3,
        min_lr=5e-4,
        warmup_steps=10,
        eval_every=10**6,
        checkpoint_every=10**6,
        threads=1,
    )
    for step in train(config, home / name, tell=lambda sentence: None):
        model = step.model
    return model


def answers(home: Path, model: GPT) -> list[Completion]:
    tokenizer = Tokenizer.load(home / "tokenizer")
    prompts = [tokenizer.prompt(question) for question in QUESTIONS]
    return generate(model, prompts, Sampling(LONGEST), stop_token=tokenizer.im_end)


def test_a_model_trained_200_steps_on_toy_records_stops_by_itself(home: Path) -> None:
    told = answers(home, trained(home, "run", STEPS))
    assert [one.stopped for one in told] == [True, True], "its <|im_end|> was trained, so it says it"
    assert all(0 < len(one.tokens) < LONGEST for one in told)


def test_where_the_end_gives_no_loss_a_model_never_stops(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that the test above is there for: the loss span one token short."""
    lay_out = Tokenizer.lay_out

    def one_short(self: Tokenizer, question: list[int], answer: list[int]) -> tuple[list[int], int, int]:
        tokens, start, end = lay_out(self, question, answer)
        return tokens, start, end - 1

    monkeypatch.setattr(Tokenizer, "lay_out", one_short)
    with source.opened(home / "factory.db") as db:
        pack(db, Tokenizer.load(home / "tokenizer"), home / "short" / "pack", PackConfig(256, val_articles=0.1))
    (home / "short" / "tokenizer").symlink_to(home / "tokenizer")
    assert not any(one.stopped for one in answers(home, trained(home / "short", "run", STEPS)))
