"""This or that: the right value and a wrong one, in both orders. Both or neither: a model must not learn the place."""

from collections.abc import Iterator

from datagen.families import Draft, Dropped, Group, Work, dropped
from datagen.phrasings import phrased

VERSION = 2
PHRASINGS = {
    "or": "{body} {first} or {second}?",
    "choose": "Choose between {first} and {second}. {body}",
    "which": "Which is right, {first} or {second}? {body}",
    "pick": "{body} Pick one: {first} or {second}.",
    "casual": "{first} or {second}, which one? {body}",
    "formal": "Please decide between {first} and {second}: {body}",
}


def make(work: Work) -> Iterator[Group | Dropped]:
    yield from dropped(work)
    for fact in work.facts:
        for id, role in phrased(fact.key, "which_of_two", PHRASINGS, work.choice).items():
            wrong = work.pools.some_wrong(fact, work.article, 1, work.choice.seed, fact.key, "which_of_two", id)
            if wrong is None:
                yield Dropped("phrase", f"the corpus has no wrong {fact.kind} of this form", fact.sentence, fact.value)
                break
            yield tuple(
                Draft(
                    fact.key,
                    id,
                    role,
                    fact.in_context(PHRASINGS[id].format(body=fact.body, first=first, second=second)),
                    fact.value,
                    fact.sentence,
                    (wrong[0],),
                )
                for first, second in ((fact.value, wrong[0]), (wrong[0], fact.value))
            )
