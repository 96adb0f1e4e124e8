"""Is a second phase on chosen records worth its steps? python -m bench.phases [--steps 300] [--second 0.33]

Q-PT is pretraining on question-answer records; here its records are either all there are (as the demo teaches them), or
the passages alone ("What is there to say about ...?"). SFT is a second phase that begins with those weights and an
optimizer of its own, at a lower rate, on the plain questions alone. Every way takes the same number of steps, sees the
demo's facts, and is asked the same questions: facts it was taught, in words it never saw. A line of JSON each.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.datagen import make_factory
from datagen.factory import open_factory
from datagen.files import is_complete
from datagen.generate import Settings, generate
from datagen.phrasings import Choice
from datagen.records import FAMILIES, Question, read_questions
from gpt import source
from gpt.archive import write_model
from gpt.attention import Documents
from gpt.config import GPTConfig, TrainConfig
from gpt.loss import labelled_loss
from gpt.model import GPT
from gpt.pack import PackConfig, pack
from gpt.sample import Sampling, generate_all
from gpt.tokenizer import Tokenizer
from gpt.train import train
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer
from judge.judges import open_judge

SHAPE = GPTConfig(n_head=4, vocab_size=4096, context_len=512, bias=False, tied=True, pos="rope", qk_norm=True)
RECORDS = {"all": FAMILIES, "passages": ("qpt",), "questions": tuple(f for f in FAMILIES if f != "qpt")}
WAYS = (("all",), ("all", "questions"), ("passages", "questions"), ("passages",))
LR, SECOND_LR, MIN_LR = 2.5e-3, 1e-3, 1e-4
ASKED = 200


@dataclass(frozen=True)
class Asked:
    """What every way is asked: the questions, and the texts of a right answer to each."""

    tokenizer: Tokenizer
    questions: list[Question]

    def loss(self, model: GPT) -> float:
        """The mean loss over the tokens of the right answers."""
        total, labels = 0.0, 0
        with torch.no_grad():
            for question in self.questions:
                tokens, start, end = self.tokenizer.document(question.question, question.reference.answer)
                rows, docs = torch.arange(start - 1, end - 1), Documents((0, len(tokens)), model.device)
                hidden = model(torch.tensor(tokens), docs, rows)
                total += labelled_loss(hidden, model.head_weight, torch.tensor(tokens[start:end])).item()
                labels += end - start
        return total / labels

    def passed(self, model: GPT) -> float:
        """The share that the reference judge passes, said greedily."""
        judge, prompts = (
            open_judge("reference", self.questions),
            [self.tokenizer.prompt(q.question) for q in self.questions],
        )
        said: dict[int, str] = {}
        for done in generate_all(model, prompts, Sampling(32), stop_token=self.tokenizer.im_end, batch=64):
            said |= {place: self.tokenizer.decode(completion.tokens) for place, completion in done.items()}
        rulings = [judge.rule(question, said[place]) for place, question in enumerate(self.questions)]
        return sum(ruling is not None and ruling.passed for ruling in rulings) / len(rulings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of both phases together")
    parser.add_argument("--second", type=float, default=1 / 3, help="the second phase's share of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[" then ".join(way) for way in WAYS], help="one way")
    parser.add_argument(
        "--packs", type=Path, help="where the packs are, or are made and stay; none: made, and gone after"
    )
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packs, runs = args.packs or Path(folder) / "packs", Path(folder) / "runs"
        packs.mkdir(exist_ok=True)
        asked, shape = make_packs(packs), replace(SHAPE, n_layer=args.layers, n_embd=args.width)
        for way in [tuple(args.only.split(" then "))] if args.only else WAYS:
            for line in go(packs, runs, way, shape, args.steps, args.second, args.seed, asked):
                print(json.dumps(line), flush=True)


def make_packs(home: Path) -> Asked:
    """A factory and a pack for each choice of records, all with one tokenizer and the same articles held out."""
    for name, families in RECORDS.items():
        if is_complete(home / name):
            continue
        make_factory(home / f"{name}.db", copies=1)
        db = open_factory(home / f"{name}.db")
        for _ in generate(db, Settings(families, Choice(None, 0.15, 1, 0), 10)):
            pass
        db.close()
        with source.opened(home / f"{name}.db") as read:
            if name == "all":
                make_tokenizer(read, home / "tokenizer", home, TokenizerConfig(4096))
            pack(read, Tokenizer.load(home / "tokenizer"), home / name, PackConfig(512))
    held_out = [json.loads((home / name / "manifest.json").read_text())["val_articles"] for name in RECORDS]
    assert held_out[0] == held_out[1] == held_out[2], "else one is taught what another never saw"
    taught = [q for q in read_questions(home / "all" / "questions.jsonl") if q.group == "seen_facts"]
    chosen = [taught[place * len(taught) // ASKED] for place in range(ASKED)]
    return Asked(Tokenizer.load(home / "tokenizer"), chosen)


def go(
    packs: Path, runs: Path, way: tuple[str, ...], shape: GPTConfig, steps: int, share: float, seed: int, asked: Asked
) -> Iterator[dict[str, object]]:
    """Train one way; a line after each phase."""
    second = round(steps * share) if len(way) > 1 else 0
    init = None
    for phase, records in enumerate(way):
        config = TrainConfig(
            packs / records, shape, steps=second if phase else steps - second, micro_batch=2, grad_accum=1,
            lr=SECOND_LR if phase else LR, min_lr=MIN_LR, warmup_steps=10 if phase else 30, decay="linear", seed=seed,
            eval_every=10**6, checkpoint_every=10**9, checkpoint_every_s=1e9, threads=1, init=init,
        )  # fmt: skip
        run = runs / "-".join([*way, str(phase)])
        *_, step = train(config, run, tell=lambda sentence: None)
        init = runs / "models" / run.name
        write_model(
            init, step.weights(), shape, asked.tokenizer.model_bytes, {"kind": "snapshot", "longest": step.longest}
        )
        model = step.model.eval()
        facts = {"way": " then ".join(way[: phase + 1]), "of": " then ".join(way), "steps": step.number, "seed": seed}
        yield {**facts, "probe_loss": asked.loss(model), "passed": asked.passed(model), "labels": step.tokens_seen}


if __name__ == "__main__":
    main()
