"""Complete the sentence: a statement of the article with a hole where the value was."""

from collections.abc import Iterator

from datagen.families import Draft, Dropped, Group, Work, dropped
from datagen.phrasings import phrased

VERSION = 4
KIND_WORDS = {"date": "date", "number": "number", "person": "name", "place": "place"}
PHRASINGS = {  # {kind}: one of the words above
    "complete": "Complete the sentence: {statement}",
    "fill_in": "Fill in the blank: {statement}",
    "fill_in_the_kind": "Fill in the missing {kind}: {statement}",
    "what_belongs": "What belongs in the blank? {statement}",
    "which_completes": "Which {kind} completes this? {statement}",
    "replace": "Replace the blank with the right {kind}: {statement}",
    "supply_after": "{statement} Supply the missing {kind}.",
    "asked_after": "{statement} What is missing here?",
    "casual": "finish this one for me: {statement}",
    "formal": "Please state the {kind} that has been left out: {statement}",
}


def make(work: Work) -> Iterator[Group | Dropped]:
    yield from dropped(work)
    for fact in work.facts:
        statement = fact.statement()
        for id, role in phrased(fact.key, "cloze", PHRASINGS, work.choice).items():
            question = fact.in_context(PHRASINGS[id].format(statement=statement, kind=KIND_WORDS[fact.kind]))
            yield (Draft(fact.key, id, role, question, fact.value, fact.sentence),)
