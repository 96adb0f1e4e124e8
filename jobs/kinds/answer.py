"""A model answers a pack's questions: greedy, in batches. Goes on from its journal, then writes the answers whole."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.contract import BadArgs, HomePath, OutOfGpuMemory, Run

if TYPE_CHECKING:
    from datagen.records import Question
    from gpt.model import GPT
    from gpt.tokenizer import Tokenizer

LANE = "gpu"
WARM = ("torch", "gpt.sample", "gpt.tokenizer")


@dataclass(frozen=True)
class Args:
    model: str  # a name in models/
    questions: HomePath  # packs/<name>/questions.jsonl
    out: str | None = None  # a name in answers/; none: the model's
    untrained: bool = False  # the same model with fresh weights: what guessing gives
    limit_per_group: int | None = None  # so many questions of each group, the same ones every time
    max_new_tokens: int = 32
    batch: int = 256

    def __post_init__(self) -> None:
        from gpt.archive import check_name
        from gpt.config import BadConfig

        for name in ("max_new_tokens", "batch", "limit_per_group"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise BadArgs(f"answer takes {name} of 1 or more, not {value}")
        try:
            check_name(self.model)
            check_name(self.folder)
        except BadConfig as error:
            raise BadArgs(f"answer: {error}") from error

    @property
    def folder(self) -> str:
        return self.out or (f"{self.model}-untrained" if self.untrained else self.model)


def run(args: Args, job: Run, prepared: object = None) -> None:
    import torch

    from datagen.records import BadQuestions
    from gpt.archive import DamagedModel
    from gpt.config import BadConfig

    try:
        inputs = describe(args, job)
        folder = job.home / "answers" / args.folder
        if is_finished(folder, inputs):
            return
        write(args, job, folder, inputs)
    except (FileNotFoundError, DamagedModel, BadQuestions, BadConfig) as error:
        raise BadArgs(f"answer: {error}") from error
    except torch.OutOfMemoryError as error:
        raise OutOfGpuMemory(f"{args.batch} questions at once do not fit the GPU: take a smaller batch") from error


def is_finished(folder: Path, inputs: dict[str, Any]) -> bool:
    """Does the folder hold whole answers to just these inputs? Damaged ones are made again."""
    from datagen import files

    try:
        manifest = files.read_manifest(folder)
        return manifest.items() >= inputs.items() and files.sha256(folder / "answers.jsonl") == manifest["sha256"]
    except (OSError, ValueError, KeyError):
        return False


def describe(args: Args, job: Run) -> dict[str, Any]:
    """All that the answers depend on."""
    from datagen import files
    from gpt import archive

    model = archive.entry(job.home / "models" / args.model)
    return {
        "model": args.model,
        "model_sha256": model.manifest["sha256"][archive.WEIGHTS],
        "questions": str(args.questions),
        "questions_sha256": files.sha256(job.path(args.questions)),
        "settings": {key: value for key, value in asdict(args).items() if key not in ("model", "questions", "batch")},
    }


def write(args: Args, job: Run, folder: Path, inputs: dict[str, Any]) -> None:
    """Ask what the journal does not hold yet, then put all answers into place, in the questions' order."""
    from datagen import files
    from datagen.records import read_questions
    from gpt import archive

    questions = choose(read_questions(job.path(args.questions)), args.limit_per_group)
    journal = Journal(job.workdir / "answers.jsonl", inputs)
    open_ones = [question for question in questions if question.id not in journal.answers]
    if open_ones:
        model, tokenizer = archive.load_model(job.home / "models" / args.model, job.device, untrained=args.untrained)
        with journal:
            ask(args, job, model, tokenizer, open_ones, journal, len(questions))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / files.MANIFEST).unlink(missing_ok=True)  # answers of other inputs make room
    lines = [json.dumps(journal.answers[question.id], ensure_ascii=False) for question in questions]
    files.write_whole(folder / "answers.jsonl", "".join(line + "\n" for line in lines))
    sha256 = files.sha256(folder / "answers.jsonl")
    files.write_manifest(folder, {**inputs, "num_answers": len(lines), "job": job.id, "sha256": sha256})


def choose(questions: "Iterable[Question]", limit: int | None) -> "list[Question]":
    """All questions, or `limit` of each group, spread over its length, in their order."""
    from datagen.records import GROUPS

    every = list(questions)
    if limit is None:
        return every
    kept: set[str] = set()
    for group in GROUPS:
        ids = [question.id for question in every if question.group == group]
        kept.update(ids[i * len(ids) // limit] for i in range(limit) if ids) if limit < len(ids) else kept.update(ids)
    return [question for question in every if question.id in kept]


def ask(
    args: Args,
    job: Run,
    model: "GPT",
    tokenizer: "Tokenizer",
    questions: "list[Question]",
    journal: "Journal",
    total: int,
) -> None:
    """Answer the questions, shortest first, a batch at a time, into the journal."""
    from gpt import archive
    from gpt.sample import Sampling, generate_all, past_training
    from gpt.train import use_threads

    use_threads(None)
    prompts = [tokenizer.prompt(question.question) for question in questions]
    sampling = Sampling(max_new_tokens=args.max_new_tokens)
    longest = None if args.untrained else archive.entry(job.home / "models" / args.model).manifest.get("longest")
    num_past = 0
    for done in generate_all(model, prompts, sampling, stop_token=tokenizer.im_end, batch=args.batch):
        for index, completion in done.items():
            text = tokenizer.decode(completion.tokens)
            num_tokens = len(completion.tokens)
            journal.add(questions[index].id, answer=text, num_tokens=num_tokens, stopped=completion.stopped)
        journal.flush()
        num_past += len(past_training(model, longest, [prompts[index] for index in done], list(done.values())))
        job.progress(len(journal.answers), total, "questions")
        job.stop_if_asked()
    if num_past:
        job.note(
            f"{num_past} questions with their answers are longer than the {longest} tokens that training went to: past "
            f"that is guesswork"
        )


class Journal:
    """Answers so far, one JSON line each behind a line that says what they answer. A torn last line is forgotten.

    What an earlier attempt left is never cut: it is put beside, without its torn line, and renamed. What stands behind
    a line that a power cut damaged is asked again.
    """

    def __init__(self, path: Path, inputs: dict[str, Any]) -> None:
        self.path, self.inputs = path, inputs
        header, rows = read_rows(path)
        self.answers: dict[str, dict[str, Any]] = {row["id"]: row for row in rows} if header == inputs else {}

    def __enter__(self) -> None:
        from datagen import files

        rows = [self.inputs, *self.answers.values()]
        files.write_whole(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        self._file = open(self.path, "a", encoding="utf-8")

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, id: str, **fields: Any) -> None:
        self.answers[id] = {"id": id, **fields}
        self._file.write(json.dumps(self.answers[id], ensure_ascii=False) + "\n")

    def flush(self) -> None:
        self._file.flush()


def read_rows(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    """A journal's first line and the answers behind it, up to the first line that is torn or damaged."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found: list[Any] = []
    for line in text.split("\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
        if len(found) > 1 and not (isinstance(found[-1], dict) and {"id", "answer"} <= found[-1].keys()):
            del found[-1]
            break
    return (found[0], found[1:]) if found else (None, [])
