"""True or false: a statement of the article, and the same with a wrong value of the same form. Always both."""

from collections.abc import Iterator

from datagen.facts import Fact
from datagen.families import Draft, Dropped, Group, Work, bound, dropped, with_wrong

VERSION = 5
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
    facts: dict[str, Fact] = {}
    for fact in work.facts:
        if fact.is_bound:
            yield bound(fact)
        elif fact.statement(fact.value) in facts:  # two values of one sentence: what is true of it is said once
            yield Dropped("phrase", "another value of its sentence is asked about", fact.sentence, fact.value)
        else:
            facts[fact.statement(fact.value)] = fact
    for one in with_wrong(work, facts.values(), "true_false", PHRASINGS, 1):
        if isinstance(one, Dropped):
            yield one
            continue
        fact, id, role, (wrong,) = one
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
            for value, answer, opposite in ((fact.value, TRUE, FALSE), (wrong, FALSE, TRUE))
        )
