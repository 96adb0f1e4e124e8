"""Judge a model's answers against the references, beside its baselines: a report. Goes on from its journal."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import BadArgs, HomePath, Run

LANE = "cpu"
PACK = HomePath("packs/main")


@dataclass(frozen=True)
class Args:
    model: str  # whose answers: answers/<model>
    pack: HomePath = PACK
    baselines: tuple[str, ...] = ()  # answers to show beside them, as the untrained model's
    judge: str = "reference"
    previous: str | None = None  # a model to compare with; its parent when not given
    seed: int = 0  # chooses the answers that the report quotes

    def __post_init__(self) -> None:
        from judge.judges import JUDGES

        for name in (self.model, *self.baselines, *([self.previous] if self.previous is not None else [])):
            if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
                raise BadArgs(
                    f"{name!r} is no name of a model: take a name as `jobctl models list` shows it, not a path"
                )
        if self.judge not in JUDGES:
            raise BadArgs(f"there is no judge {self.judge!r}: take one of {', '.join(JUDGES)}")


def run(args: Args, job: Run, prepared: object = None) -> None:
    from judge.judging import Judging, judge_model
    from judge.verdicts import BadInput

    task = Judging(
        home=job.home,
        pack=job.path(args.pack),
        model=args.model,
        baselines=args.baselines,
        judge=args.judge,
        seed=args.seed,
        previous=args.previous,
        run=job.id,
    )
    try:
        with closing(judge_model(task)) as judging:
            for now in judging:
                job.progress(now.done, now.total, "answers", pass_rate=now.pass_rate)
                if now.done < now.total:
                    job.stop_if_asked()
    except BadInput as error:
        raise BadArgs(str(error)) from error
    job.note(f"the report of {args.model} is in reports/{args.model}/report.md")
