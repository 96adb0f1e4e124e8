"""Who, when, where, how many: a statement of plain shape, turned into a question. The answer is the value alone."""

from collections.abc import Iterator

from datagen.facts import plain_title
from datagen.families import Draft, Dropped, Group, Work, dropped
from datagen.phrasings import phrased

VERSION = 4
PHRASINGS = {  # {Direct}: "When did the battle begin"; {embedded}: "when the battle began"
    "plain": "{Direct}?",
    "tell_me": "Tell me {embedded}.",
    "do_you_know": "Do you know {embedded}?",
    "quick": "Quick question: {direct}?",
    "would_like": "I would like to know {embedded}.",
    "can_you_say": "Can you say {embedded}?",
    "remind": "Remind me {embedded}.",
    "casual": "hey, {direct}?",
    "formal": "Please state {embedded}.",
    "article": 'In the article "{title}", {direct}?',
}


def make(work: Work) -> Iterator[Group | Dropped]:
    yield from dropped(work)
    for fact in work.facts:
        if fact.shape is None:
            yield Dropped("phrase", "its sentence has no plain shape to ask from", fact.sentence, fact.value)
            continue
        direct, embedded = fact.shape
        words = {"direct": direct, "embedded": embedded, "Direct": direct[0].upper() + direct[1:]}
        for id, role in phrased(fact.key, "who_when_where", PHRASINGS, work.choice).items():
            question = fact.in_context(PHRASINGS[id].format(**words, title=plain_title(fact.title)))
            yield (Draft(fact.key, id, role, question, fact.value, fact.sentence),)
