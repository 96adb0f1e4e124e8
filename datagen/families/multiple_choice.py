"""Four options, one right. The right one's place goes round over the phrasings of a fact, so no letter is favoured."""

from collections.abc import Iterator

from datagen.families import Draft, Dropped, Group, Work, dropped, with_wrong
from datagen.phrasings import draw

VERSION = 5
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
    places: dict[str, int] = {}
    for one in with_wrong(work, work.facts, "multiple_choice", PHRASINGS, 3):
        if isinstance(one, Dropped):
            yield one
            continue
        fact, id, role, wrong = one
        place = places.setdefault(fact.key, draw(work.choice.seed, fact.key, "turn")) % len(LETTERS)
        places[fact.key] += 1
        values = [*wrong[:place], fact.value, *wrong[place:]]
        labelled = [f"{letter}. {value}" for letter, value in zip(LETTERS, values, strict=True)]
        options = "; ".join(labelled) + "."
        question = fact.in_context(PHRASINGS[id].format(body=fact.body, options=options))
        answer = labelled.pop(place)
        yield (Draft(fact.key, id, role, question, answer, fact.sentence, tuple(labelled)),)
