"""The judges by name. A judge is opened once with the questions it is going to see, then rules on one answer at a time.

A new judge is one more line in JUDGES: something that makes an object with these two methods.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from datagen.records import Question
from judge.canaries import Canary, canaries
from judge.reference import ReferenceJudge
from judge.verdicts import BadInput, Ruling


class Judge(Protocol):
    """Rules on answers. identity: name, version and all that its rulings depend on, as JSON."""

    def identity(self) -> dict[str, Any]: ...

    def rule(self, question: Question, answer: str) -> Ruling | None:
        """The ruling, or None when it could not come to one: neither pass nor fail."""
        ...


JUDGES: dict[str, Callable[[Sequence[Question]], Judge]] = {"reference": ReferenceJudge.of}


def open_judge(name: str, questions: Sequence[Question]) -> Judge:
    """A judge for these questions and the canaries. Raises BadInput for a name that is none."""
    if name not in JUDGES:
        raise BadInput(f"there is no judge {name!r}: take one of {', '.join(JUDGES)}")
    return JUDGES[name]([*questions, *(canary.question for canary in canaries())])


def missed_canaries(judge: Judge) -> list[tuple[Canary, str]]:
    """The canaries judged otherwise than they must be, each with what the judge said."""
    missed = []
    for canary in canaries():
        ruling = judge.rule(canary.question, canary.answer)
        if ruling is None or ruling.passed != canary.must_pass:
            missed.append((canary, ruling.explanation if ruling else "came to no ruling"))
    return missed
