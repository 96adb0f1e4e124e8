"""What makes a question doubtful although its grammar is found: words that point outside it, owners that are missing.

Who reads a question has its article's title and nothing else, so "this group", "him" or "four days later" ask nothing.
A clause here is a statement without its adjunct, as `shapes` cuts it: "German troops attacked the salient".
"""

import re

from datagen.english import AUXILIARIES, BE, finite_verb, is_participle
from datagen.names import CAPITAL, GIVEN_NAMES, TITLES
from datagen.words import words

_POINTERS = re.compile(
    r"\b(?:this|these|those|there|here|he|him|she|it|they|them|we|us|such|same|then|now|ago|later|earlier|again|still"
    r"|already|next|instead|otherwise|previous|previously|another|former|latter|respectively|no|not|never|neither|nor"
    r"|the (?:other|others|following)|within (?:a few )?(?:minutes|hours|days|weeks|months)"
    r"|(?:in|at|on|of|from|to|for|by|with|during|after|before) that|one of|some of"
    r"|that (?:night|day|morning|evening|afternoon|year|month|week|spring|summer|autumn|winter|time|point))\b"
    r"|\b(?:only|too|first|back|even|alone|both|together|that)$"
    r"|, (?:who|whom|whose|which|where|when)\b|\d{4} and a\b|, \d[\d,]* [a-z]+ (?!\d)|\b(?:between|both) (?!.* and )",
    re.IGNORECASE,
)
# "the division" alone is some division that an earlier sentence named; "the division of Lee" says which.
_UNNAMED = re.compile(
    r"\bthe (?:group|force|forces|division|corps|unit|units|squadron|brigade|regiment|post|office"
    r"|orders?)\b(?! (?:of|that|which|who|from|under|in|on|at)\b)"
    r"|\bthe (?:first|second|third|last|two|three|four)(?=$| (?:was|were|is|are|had|has|did)\b)"
)
_UNFINISHED = re.compile(
    r"\b(?:the|a|an|of|in|on|at|to|and|or|by|for|with|from|between|both|against|under|over|into|near|during|before"
    r"|after|since|until|than|as|that|which|who|whose|new|about|some|more|its|his|her|their)$"
)
_POSSESSIVE = re.compile(r"\b(his|her|its|their)\b")
_ONE_NAME = re.compile(rf"{CAPITAL}(?: {CAPITAL})*")
_MANY = re.compile(r" and |(?:s|men|women|people|aircraft|infantry)$")
_SOME_MANY = re.compile(r" and |[a-z]s\b|\b(?:men|women|people|aircraft)\b")
# "planned the attack in May": when the plan was made, or when the attack was to be?
_LOOKS_AHEAD = frozenset(
    words("prepared planned expected predicted discussed proposed promised feared wanted intended")
)
# What may end a clause as its verb, because it needs nothing behind it: "when the city fell", not "when they showed".
_NEEDS_NO_OBJECT = frozenset(
    words("""
    began started ended closed opened reopened died fell sank surrendered capitulated resigned retired abdicated
    collapsed failed appeared disappeared emerged arrived returned departed withdrew retreated escaped
    met married met landed fought attacked exploded crashed cleared broke froze stopped halted sailed
    resumed graduated marched advanced capsized burned voted disbanded merged separated
    """)
)
# "Where did MacArthur fight?" has many answers.
_SAYS_TOO_LITTLE = frozenset(
    words("landed fought attacked arrived met returned sailed failed advanced appeared began ended")
)
_BEFORE_A_PARTICIPLE = frozenset(words("first finally soon twice often"))
# "the failure in Norway": such a noun has a place of its own, so the place may be the noun's and not the verb's.
_HAS_A_PLACE = re.compile(
    r"\b(?:landings?|failure|success|attacks?|operations?|offensives?|campaigns?|fighting|war|battles?|airfields?"
    r"|airfield|bases?|base|headquarters|laborator(?:y|ies)|factor(?:y|ies)|works|plants?|command|positions?|bridges?"
    r"|front|coast|ports?|defen[cs]es?|victor(?:y|ies)|defeats?|situation|interests?|islands?|camps?|towns?|cit(?:y|ies)"
    r"|villages?|beach(?:es)?|troops|forces|garrisons?|arm(?:y|ies))$"
)
_PLACE_AT_END = re.compile(
    rf"\b(?:in|at|near|on|off|to|from|into|outside|around|through)(?: the)? {CAPITAL}(?: (?:of )?{CAPITAL})*$"
)
_OTHER_PLACE = re.compile(r"\b(?:in|at|on|near) (?:the|a|an) [a-z]")
# "opened the way for the landing in Sicily on 10 July": such an event behind a preposition has a time of its own.
_HAS_A_TIME = re.compile(
    r" (?:for|since|after|before|until) (?:[a-z]+ )?(?:[\w-]+ ){0,2}(?:landings?|invasion|attacks?|raids?|battle"
    r"|offensive|assault|surrender|conference|declaration|coup|defeat|victory|fall|capture|siege|uprising|outbreak"
    r"|death|agreement|treaty)\b[^,]*$",
    re.IGNORECASE,
)
_PURPOSE = re.compile(r" for | (?<!according )to (?!(?:a|an|the|his|her|its|their|one|two|three) )[a-z]+\b")


def is_doubtful(text: str) -> bool:
    """Does it point at something outside itself, or stop before its end? For every question word."""
    return bool(_POINTERS.search(text) or _UNNAMED.search(text) or _UNFINISHED.search(text))


def lacks_owner(subject: str, text: str) -> bool:
    """'American aircraft sank her sister ship': is there a 'his', 'her', 'its' or 'their' that is not the subject's?

    subject: who does it, a title in it where that is a person. text: the whole clause, the subject first.
    """
    return any(not _may_own(owned[1], subject, text[: owned.start()]) for owned in _POSSESSIVE.finditer(text))


def _may_own(word: str, subject: str, before: str) -> bool:
    if len(before) < len(subject):  # "King Haakon and his government", but "troops under his command"
        subject = before.removesuffix(" and ")
    is_person = any(part in TITLES or part in GIVEN_NAMES for part in subject.split())
    if word == "his":
        return (is_person or (_ONE_NAME.fullmatch(subject.strip()) is not None)) and not _MANY.search(subject)
    if word == "her":
        return _ONE_NAME.fullmatch(subject.strip()) is not None
    if word == "its":
        return not is_person and not _MANY.search(subject.strip())
    return _SOME_MANY.search(subject) is not None


def is_no_event(wh: str, clause: str) -> bool:
    """Is it no event that has a time or place of its own: a state, a past perfect, a verb that waits for its object?"""
    verb = finite_verb(clause)
    if verb is None:
        return True
    rest = clause[verb.end :].split()
    if not rest:
        is_one = clause.startswith("the ")  # "where did the 4th Division land" has one answer
        says_little = wh == "where" and not is_one and verb.word in _SAYS_TOO_LITTLE
        return verb.word not in _NEEDS_NO_OBJECT or says_little
    if wh == "where" and verb.word in ("made", "let"):  # "made them expect an attack in Ukraine"
        return True
    if verb.word in BE:  # "was a series of attacks", "was over"; but "was sunk", "was born", "was badly damaged"
        parts = rest[1:] if _is_before_a_participle(rest) else rest
        return not parts or not (is_participle(parts[0]) or parts[0] == "born")
    return verb.word in AUXILIARIES or (wh == "when" and verb.word in _LOOKS_AHEAD)


def _is_before_a_participle(parts: list[str]) -> bool:
    return bool(parts) and (parts[0] in _BEFORE_A_PARTICIPLE or parts[0].endswith("ly"))


def may_be_of_a_noun(wh: str, clause: str) -> bool:
    """'debated the failure', 'chose him to direct the laboratory': may what follows belong to a noun, not the verb?"""
    verb = finite_verb(clause)
    behind = clause[verb.end :] if verb else clause
    if _ends_on_participle(behind, passive=verb is not None and verb.word in BE):
        return True
    patterns = (_HAS_A_TIME,) if wh == "when" else (_PLACE_AT_END, _PURPOSE, _HAS_A_PLACE, _OTHER_PLACE)
    return any(pattern.search(behind) for pattern in patterns)


_BEHIND_A_PARTICIPLE = frozenset(("", *words("by in at on to from with for as during under near after before")))


def _ends_on_participle(behind: str, *, passive: bool) -> bool:
    """'a shelter introduced in March', 'a ship built by Krupp in Kiel': is the adjunct a participle's of the object?"""
    parts = behind.split()
    first = (2 if _is_before_a_participle(parts) else 1) if passive else 0
    followers = [*parts[first + 1 :], ""]
    return any(
        is_participle(part) and follower in _BEHIND_A_PARTICIPLE
        for part, follower in zip(parts[first:], followers, strict=False)
    )
