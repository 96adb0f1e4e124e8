"""Four options, one right. The right one's place goes round over the phrasings of a fact, so no letter is favoured."""

from collections.abc import Iterator

from datagen.families import Draft, Dropped, Group, Work, dropped
from datagen.phrasings import draw, phrased

VERSION = 2
PHRASINGS = {
    "plain": "{body} {options}",
    "choose": "Choose the right answer. {body} {options}",
    "which": "{body} Which option is right? {options}",
    "options_first": "{options} {body}",
    "casual": "a, b, c or d? {body} {options}",
    "formal": "Please select the correct option: {body} {options}",
}
LETTERS = "ABCD"


def make(work: Work) -> Iterator[Group | Dropped]:
    yield from dropped(work)
    for fact in work.facts:
        turn = draw(work.choice.seed, fact.key, "turn")
        for place, (id, role) in enumerate(phrased(fact.key, "multiple_choice", PHRASINGS, work.choice).items(), turn):
            wrong = work.pools.some_wrong(fact, work.article, 3, work.choice.seed, fact.key, "multiple_choice", id)
            if wrong is None:
                yield Dropped(
                    "phrase", f"the corpus has no 3 wrong {fact.kind}s of this form", fact.sentence, fact.value
                )
                break
            values = [*wrong]
            values.insert(place % len(LETTERS), fact.value)
            labelled = [f"{letter}. {value}" for letter, value in zip(LETTERS, values, strict=True)]
            options = "; ".join(labelled) + "."
            question = fact.in_context(PHRASINGS[id].format(body=fact.body, options=options))
            answer = labelled.pop(place % len(LETTERS))
            yield (Draft(fact.key, id, role, question, answer, fact.sentence, tuple(labelled)),)
