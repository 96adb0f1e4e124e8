"""This or that: the right value and a wrong one, in both orders. Both or neither: a model must not learn the place."""

from collections.abc import Iterator

from datagen.families import Draft, Dropped, Group, Work, dropped, with_wrong

VERSION = 5
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
    for one in with_wrong(work, work.facts, "which_of_two", PHRASINGS, 1):
        if isinstance(one, Dropped):
            yield one
            continue
        fact, id, role, (wrong,) = one
        yield tuple(
            Draft(
                fact.key,
                id,
                role,
                fact.in_context(PHRASINGS[id].format(body=fact.body, first=first, second=second)),
                fact.value,
                fact.sentence,
                (wrong,),
            )
            for first, second in ((fact.value, wrong), (wrong, fact.value))
        )
