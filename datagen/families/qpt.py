"""Q-PT: ask for the text itself, in many tones. The answer is the snippet, word for word.

A question names its snippet by the article's title and the words it begins with, so no two snippets share one.
"""

from collections.abc import Iterator

from datagen.families import Draft, Dropped, Group, Work
from datagen.phrasings import chosen

VERSION = 1
LEAD_WORDS = 6
PHRASINGS = {
    "plain": 'What does the article on {title} say from "{lead}" on?',
    "formal": 'Please provide the passage of the article on {title} that begins with "{lead}".',
    "formal_request": 'I kindly request the text on {title} which opens with the words "{lead}".',
    "formal_source": 'Kindly reproduce the section concerning {title} commencing "{lead}".',
    "formal_purpose": 'For reference, state in full the passage on {title} starting "{lead}".',
    "imperative": 'Recite the passage on {title} that starts with "{lead}".',
    "imperative_short": '{title}: continue from "{lead}".',
    "imperative_write": 'Write out the part on {title} beginning "{lead}".',
    "imperative_give": 'Give me the text on {title} that opens "{lead}".',
    "imperative_quote": 'Quote the article on {title} from "{lead}" onwards.',
    "casual": 'hey, how does the bit on {title} go that starts "{lead}"?',
    "casual_remember": 'remember that part on {title}, "{lead}" and so on? what comes there?',
    "casual_tell": 'so tell me about {title}, the part with "{lead}"',
    "casual_go": 'ok {title}, go: "{lead}"',
    "chatty": 'I was reading about {title} and got to "{lead}". What did the passage say?',
    "chatty_friend": 'A friend asked me about {title}. What stands in the passage that begins "{lead}"?',
    "chatty_lost": 'I lost my notes on {title}. They began with "{lead}"; can you fill in the rest?',
    "chatty_curious": 'I am curious about {title}. Could you tell me the passage starting "{lead}"?',
    "student": 'For my homework on {title} I need the paragraph that starts "{lead}". What is it?',
    "teacher": 'Class, who can tell us what the text on {title} says after "{lead}"?',
    "editor": 'We need the original wording on {title} from "{lead}". Please supply it.',
    "search": '{title} "{lead}" full text',
    "typo": 'waht does teh article on {title} say form "{lead}" on?',
    "typo_please": 'plese give me the pasage on {title} that begins whith "{lead}"',
    "typo_casual": 'cna you tell me the part abuot {title}, it starts "{lead}"',
    "typo_formal": 'Could you provied the text on {title} wich opens with "{lead}"?',
    "polite": 'Would you mind telling me the passage on {title} that starts with "{lead}"?',
    "direct": 'Text on {title}, starting at "{lead}", please.',
}


def make(work: Work) -> Iterator[Group | Dropped]:
    lead = leading_words(work.snippet)
    key = f"{work.title}\0{work.snippet}"
    for id in chosen(key, PHRASINGS, work.choice.phrasings_per_snippet, work.choice.seed):
        question = PHRASINGS[id].format(title=work.title, lead=lead)
        yield (Draft("", id, "train", question, work.snippet, ""),)  # its own source


def leading_words(snippet: str) -> str:
    """How the snippet begins, without quote marks of its own."""
    return " ".join(snippet.replace('"', "").split()[:LEAD_WORDS]).rstrip(".,;:")
