"""A plain statement as a question: who, when, where, how many. Only where the shape of the sentence is clear.

`embedded` is the clause as it follows "tell me" ("when the battle began"), `direct` the one that stands alone ("when
did the battle begin"). Where the verb is outside the tables the direct form is a cleft ("when was it that ...").
"""

import re
from typing import NamedTuple

from datagen.doubts import is_doubtful, is_no_event, lacks_owner, may_be_of_a_noun
from datagen.english import AUXILIARIES, BASE_OF, finite_verb, has_verb, invert, is_participle, verb_follows
from datagen.features import Feature
from datagen.names import Gazetteer
from datagen.words import NUMBERS, words

MAX_CLAUSE_WORDS = 22

_TIME_LEAD = re.compile(
    r"(?:^|\s)(?:(?:early |late )?(?:on|in)|on the (?:night|morning|evening|afternoon) of|at dawn on"
    r"|in (?:early|late|mid)) $",
    re.IGNORECASE,
)
_PLACE_LEAD = re.compile(r"(?:^|\s)(?:in|at|near|on)(?: the)? $", re.IGNORECASE)
_FOLLOWERS = words(
    "and but when while with by after before at near in to as from under for on where who because during against"
)
_GOES_ON = re.compile(rf"(?:[.,;]|$| (?:{'|'.join(_FOLLOWERS)})\b)")
# Words that take "in" or "at" for themselves: "resulted in Poland" says no place.
_GOVERNED = re.compile(
    r"\b(?:result\w*|participat\w*|interest\w*|succeed\w*|consist\w*|believ\w*|increas\w*|decreas\w*|invest\w*"
    r"|war|attack|raid|aimed|fired|part)$"
)
_ADJUNCTS = words(
    "After In On With When While Although By During Following Despite Under As Before At For From Since"
    " However Meanwhile Finally Later Eventually Soon Today Overall Currently Recently Originally Initially"
)
_ADJUNCT = re.compile(rf"(?:{'|'.join(_ADJUNCTS)})\b")
_CLAUSE_END = re.compile(r"[,;:] | [-–—] |, | and (?=[a-z]+ed\b)|\.$")
_NEXT_OF_A_LIST = re.compile(r", (?P<next>[^,;.]{1,40}?)(?:,| and | or )")
_NEW_START = re.compile(
    r"(?:and|but|or|who|whom|whose|that|to|of|by|into|which|where|when|while|with|after|before|as|because|in|on|at|from|for|under|one|two|three|four|five"
    r"|six|seven|eight|nine|ten|during|about|only|just|exactly|together|the day|a few|most|many|including)\b"
)
_QUANTIFIER = re.compile(
    r"(?:^|\s)(?:[Aa]bout|[Ss]ome|[Aa]round|[Nn]early|[Mm]ore than|[Oo]ver|[Aa]t least|[Aa]lmost|[Aa]pproximately"
    r"|[Rr]oughly|[Ff]ewer than|[Ll]ess than|[Uu]p to|[Aa] total of|[Oo]nly) $"
)
_DATE_LIKE = re.compile(r"\b(?:1[0-9]{3}|20[0-2][0-9])\b")


# What comes between the verb and the adjunct may own the adjunct: "since the defeat of Poland in 1939".
_SECOND_CLAUSE = re.compile(
    r"\b(?:but|when|while|which|who|whom|that|because|where|if|whether|since|until|after|before|following|despite|as)\b"
)
_TO_WHAT_END = re.compile(r" (?:to [a-z]|as )")  # "chose him in May 1944 to lead it": without its end it says little
_NAMES = r"[A-Z][\w’'-]*(?: [A-Z][\w’'-]*)*"
_IN_A_LIST = re.compile(
    rf"(?:,| and| or|, and)(?: (?:again|in|on|at|the))* "
    rf"(?:\d|{_NAMES}(?:[,.;]|$| (?:and|or|in|on|at|from|for|with)\b))"
)
_NEEDLESS = re.compile(r" (?:also|therefore|thus|nevertheless|however)\b")  # they point back, and say nothing


class Shape(NamedTuple):
    """One statement as a question, in both word orders, lower case, without a question mark."""

    direct: str
    embedded: str


def shape_of(sentence: str, feature: Feature, features: list[Feature], gazetteer: Gazetteer) -> Shape | None:
    """The sentence as a question whose answer is the feature's text, or None when its shape is not plain."""
    make = {"date": _when, "place": _where, "person": _who, "number": _how_many}[feature.kind]
    shape = make(sentence, feature, gazetteer)
    if shape is None or len(shape.embedded.split()) > MAX_CLAUSE_WORDS or _opens(shape.embedded):
        return None
    return None if is_doubtful(shape.embedded) else shape


def _opens(text: str) -> bool:
    return text.count('"') % 2 == 1 or text.count("(") != text.count(")")


def _when(sentence: str, feature: Feature, gazetteer: Gazetteer) -> Shape | None:
    return _adjunct("when", _TIME_LEAD, sentence, feature, gazetteer)


def _where(sentence: str, feature: Feature, gazetteer: Gazetteer) -> Shape | None:
    if feature.before.lower() not in ("in", "at", "near") and not _on_island(feature):
        return None
    return _adjunct("where", _PLACE_LEAD, sentence, feature, gazetteer)


def _is_reduced(clause: str, after: str) -> bool:
    """'The plan approved on ____ called for more': what looks like the verb is a participle, the verb comes later."""
    verb = finite_verb(clause)
    return verb is not None and is_participle(verb.word) and verb_follows(f"x{after}")


def _on_island(feature: Feature) -> bool:
    return feature.before.lower() == "on" and "Front" not in feature.text and "River" not in feature.text


def _adjunct(wh: str, lead: re.Pattern[str], sentence: str, feature: Feature, gazetteer: Gazetteer) -> Shape | None:
    """'The battle began on ____ ...', or 'On ____ the battle began ...': ask for the adjunct of time or place."""
    found = lead.search(sentence[: feature.start])
    if found is None:
        return None
    after = sentence[feature.end :]
    if found.start() == 0:
        clause = first_clause(after.lstrip(", "))
        clause = clause if not after.lstrip().startswith(("and ", "or ", "to ")) else None
    else:
        head = sentence[: found.start()].rstrip(", ")
        clause = last_clause(head) if _GOES_ON.match(after) and not _GOVERNED.search(head) else None
        if clause is not None and _is_reduced(clause, after):
            return None
    if clause is None or (wh == "when" and _DATE_LIKE.search(clause)) or _SECOND_CLAUSE.search(clause):
        return None
    clause = gazetteer.lower_first(_NEEDLESS.sub("", clause))
    if _IN_A_LIST.match(after) or is_no_event(wh, clause) or lacks_owner(_subject(clause), clause):
        return None
    if may_be_of_a_noun(wh, clause) or _TO_WHAT_END.match(after):
        return None
    inverted = invert(clause)
    return Shape(f"{wh} {inverted}" if inverted else f"{wh} was it that {clause}", f"{wh} {clause}")


def _subject(clause: str) -> str:
    verb = finite_verb(clause)
    return clause[: verb.start] if verb else clause


def first_clause(text: str) -> str | None:
    """The main clause that text begins with, up to where the next one starts. None when it has no sure verb."""
    for end in _CLAUSE_END.finditer(text):
        clause = text[: end.start()].rstrip(" .")
        passive_too = end[0] == " and " and is_participle(clause.split()[-1])  # "was influenced and inspired by"
        if is_clause(clause) and not passive_too and not cuts_a_list(text, end.start()):
            return _first_of_two(clause)
    return None


def cuts_a_list(text: str, comma: int) -> bool:
    """'the British, Indian and Malayan troops': does a list go on behind this comma?"""
    found = _NEXT_OF_A_LIST.match(text, comma)
    return found is not None and not has_verb(found["next"]) and not _NEW_START.match(found["next"])


def _first_of_two(clause: str) -> str:
    """'Lee surrendered and the war was over' -> 'Lee surrendered'."""
    for joint in re.finditer(r" (?:and|but) ", clause):
        first, second = clause[: joint.start()], clause[joint.end() :]
        if _SECOND_CLAUSE.search(first):  # "so that new Panther and Tiger tanks could join": whose 'and' is it?
            return clause
        if is_clause(first) and (is_clause(second) or second.split()[0] in BASE_OF):
            return first
    return clause


def last_clause(head: str, *, object_follows: bool = False) -> str | None:
    """The main clause that ends where the adjunct starts, without what leads up to it or a first of two verbs."""
    if ", " in head:
        lead, _, rest = head.rpartition(", ")
        is_joined = rest.startswith(("and ", "but ")) and finite_verb(lead) is not None
        if not (_ADJUNCT.match(lead) and "," not in lead) and not is_joined:
            return None
        head = rest.removeprefix("and ").removeprefix("but ")
    if ", " not in head and (verb := finite_verb(head)) is not None:
        subject, last = head[: verb.start], head.rpartition(" and ")[2]
        first_has_verb = verb.end <= len(head) - len(last) - len(" and ")
        starts_with_verb = finite_verb("x " + last)
        if first_has_verb and starts_with_verb is not None and starts_with_verb.start == 2:
            if _may_be_passive_too(head[verb.start :], last, object_follows):
                return None
            head = subject + last
        elif first_has_verb and is_clause(last) and len(last.split()) >= 3:
            head = last
    return head if is_clause(head) else None


_NO_OBJECT = frozenset(words("in on at to by from with for as after before during under near into against over of"))


def _may_be_passive_too(predicate: str, last: str, object_follows: bool) -> bool:
    """'was knighted and promoted to general': 'promoted' may share the 'was'. With an object behind it, it does not."""
    auxiliary, *rest = predicate.split()
    verb, *behind = last.split()
    if auxiliary not in AUXILIARIES or not any(is_participle(word) for word in rest[:2]) or not is_participle(verb):
        return False
    return (not behind and not object_follows) or (bool(behind) and behind[0] in _NO_OBJECT)


_UNFINISHED = re.compile(r"\b(?:the|a|an|of|in|on|at|to|and|or|by|for|with|from|between|both)$")
_PRONOUN_FIRST = re.compile(
    r"(?:and|but|or|so|yet|he|she|it|they|his|her|its|their|this|these|that|those|who|which)\b", re.IGNORECASE
)


def is_clause(text: str) -> bool:
    """Does it have a subject of its own and, surely found, its own verb?"""
    verb = finite_verb(text)
    if verb is None or verb.start == 0 or "," in text[: verb.start]:
        return False
    first = text.split()[0]
    if first in AUXILIARIES or first in BASE_OF or ";" in text or ":" in text or _UNFINISHED.search(text):
        return False
    subject = text[: verb.start].split()
    if not re.search(r"[^\W\d]", text[: verb.start]) or all(word.endswith("ly") and word.islower() for word in subject):
        return False
    return not _PRONOUN_FIRST.match(text) and not _ADJUNCT.match(text)


def _who(sentence: str, feature: Feature, gazetteer: Gazetteer) -> Shape | None:
    head, after = sentence[: feature.start], sentence[feature.end :]
    if _is_title_only(head):
        return _who_subject(after)
    found = re.search(r"^(.*) by (?:(?:the )?(?:[A-Z][\w-]* )*)$", head)
    if found and _GOES_ON.match(after) and not after.startswith(" and "):
        clause = last_clause(found[1])
        if clause and re.search(r"\b(?:was|were|been) (?:\w+ly )?\w+$", clause) and is_participle(clause.split()[-1]):
            clause = gazetteer.lower_first(_NEEDLESS.sub("", clause))
            inverted = invert(clause)
            owned = not lacks_owner(_subject(clause), clause)
            return Shape(f"by whom {inverted}", f"by whom {clause}") if inverted and owned else None
    return None


def _is_title_only(head: str) -> bool:
    words = head.split()
    return len(words) <= 5 and all(word[0].isupper() for word in words) and not head.endswith((", ", ". "))


def _who_subject(after: str) -> Shape | None:
    """'General ____ commanded the corps.' -> 'who commanded the corps'."""
    rest = first_clause("x" + after)
    verb = finite_verb(rest) if rest else None
    if rest is None or verb is None or verb.start != 2 or len(rest.split()) < 4:
        return None
    rest = _NEEDLESS.sub("", rest[1:]).strip()
    return None if lacks_owner("General He", f"General He {rest}") else Shape(f"who {rest}", f"who {rest}")


def _how_many(sentence: str, feature: Feature, gazetteer: Gazetteer) -> Shape | None:
    head, after = sentence[: feature.start], sentence[feature.end :]
    what = f"how many {feature.unit}"
    after = after.removeprefix(" " + feature.unit)
    if quantifier := _QUANTIFIER.search(head):
        head = head[: quantifier.start()]
    head = head.strip()
    if not head:
        rest = first_clause("x" + after)
        verb = finite_verb(rest) if rest else None
        if rest is None or verb is None or verb.start != 2 or lacks_owner(feature.unit, rest):
            return None
        return Shape(f"{what} {rest[2:]}", f"{what} {rest[2:]}")
    clause = last_clause(head, object_follows=True)
    verb = finite_verb(clause) if clause else None
    if clause is None or verb is None or verb.end != len(clause) or not _GOES_ON.match(after):
        return None
    if verb.word in _TOLLS and not head.startswith(clause):  # "and killed 800 people": where and when is lost
        return None
    return _how_many_object(what, clause, after, gazetteer)


_OBJECT_END = re.compile(r"[,;:.](?: |$)| and | but | when | while | who | which | where |$")
_OF_ITS_OWN = "|".join(["the", "a", "an", "about", "some", "more", "over", "nearly", "almost", "only", *NUMBERS])
# "6,250 tanks and guns": the number is not the tanks' alone
_COUNTED_TOGETHER = re.compile(rf" (?:and|or) (?!(?:{_OF_ITS_OWN})\b)[a-z][a-z-]+\b(?<!ed)")
_TOLLS = frozenset(words("killed wounded injured lost sank destroyed captured damaged took shot claimed rescued"))


def _how_many_object(what: str, clause: str, after: str, gazetteer: Gazetteer) -> Shape | None:
    """'The army lost ____ men in Crete.' -> 'how many men the army lost in Crete'."""
    end = _OBJECT_END.search(after)
    if end is None or cuts_a_list(after, end.start()) or _COUNTED_TOGETHER.match(after):
        return None
    clause = gazetteer.lower_first(_NEEDLESS.sub("", clause)) + after[: end.start()].rstrip()
    inverted = invert(clause)
    if inverted is None or not has_verb(clause) or lacks_owner(_subject(clause), clause):
        return None
    return Shape(f"{what} {inverted}", f"{what} {clause}")
