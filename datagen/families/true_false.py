"""True or false: a statement of the article, and the same with a wrong value of the same form. Always both."""

from collections.abc import Iterator

from datagen.families import Draft, Dropped, Group, Work, dropped
from datagen.phrasings import phrased

VERSION = 2
PHRASINGS = {
    "true_or_false": "True or false? {statement}",
    "asked_after": "{statement} True or false?",
    "is_it_true": "Is it true or false that the following is right? {statement}",
    "say": "Say true or false: {statement}",
    "casual": "true or false, what do you think: {statement}",
    "formal": "State whether this is true or false: {statement}",
}
TRUE, FALSE = "True", "False"


def make(work: Work) -> Iterator[Group | Dropped]:
    yield from dropped(work)
    stated: set[str] = set()
    for fact in work.facts:
        if fact.statement(fact.value) in stated:  # two values of one sentence: what is true of it is said once
            yield Dropped("phrase", "another value of its sentence is asked about", fact.sentence, fact.value)
            continue
        stated.add(fact.statement(fact.value))
        for id, role in phrased(fact.key, "true_false", PHRASINGS, work.choice).items():
            wrong = work.pools.some_wrong(fact, work.article, 1, work.choice.seed, fact.key, "true_false", id)
            if wrong is None:
                yield Dropped("phrase", f"the corpus has no wrong {fact.kind} of this form", fact.sentence, fact.value)
                break
            yield tuple(
                Draft(
                    fact.key,
                    id,
                    role,
                    fact.in_context(PHRASINGS[id].format(statement=fact.statement(value))),
                    answer,
                    fact.sentence,
                    (opposite,),
                )
                for value, answer, opposite in ((fact.value, TRUE, FALSE), (wrong[0], FALSE, TRUE))
            )
