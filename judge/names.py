"""Names in a text, and when two of them name the same thing.

A name is a run of words with capitals. Titles and articles are no part of it; "Rommel" and "General Erwin Rommel" are
the same, "North Africa" and "Africa" are not, nor are the Coral Sea and the Philippine Sea.
"""

import re
from collections.abc import Iterator

from judge.words import FUNCTION_WORDS, MONTHS, ORDINALS, fold, spaced

Name = tuple[str, ...]  # folded words, titles and articles dropped

TITLES = frozenset(
    spaced(
        """general generals field marshal admiral vice rear lieutenant colonel major captain commander commodore
    brigadier group wing squadron-leader sir lord lady dr doctor mr mrs president prime minister king queen
    emperor chancellor fuhrer premier secretary gen adm lt col maj capt cdr grand generaloberst
    feldmarschall"""
    )
)
# Words that name a sort of thing: alone they name nothing.
SORTS = frozenset(
    spaced(
        """battle operation campaign siege army armies corps division fleet force forces group war front sea ocean
    river island islands bay gulf strait straits channel harbor harbour port city town village province
    union states kingdom empire republic peninsula mount fort cape lake line conference treaty pact
    agreement regiment brigade squadron command air navy uss hms ijn tank tanks aircraft battleship carrier
    cruiser destroyer submarine ship class airfield airport bridge beach plan project sinking fall surrender
    bombing invasion liberation landings landing uprising raid attack evacuation directive act trials
    tribunal declaration forest pass ridge hill county"""
    )
)
# Words that make another thing of the name they stand with.
QUALIFIERS = frozenset(
    spaced(
        """north south east west northern southern eastern western central new old upper lower great lesser red black
    white royal imperial national free first"""
    )
) | frozenset(ORDINALS.values())

_NATIONS = {
    "germany": "german germans",
    "soviet": "soviets ussr",
    "britain": "british britons uk",
    "america": "american americans usa",
    "japan": "japanese",
    "italy": "italian italians",
    "france": "french",
    "poland": "polish poles",
    "finland": "finnish finns",
    "norway": "norwegian norwegians",
    "russia": "russian russians",
    "china": "chinese",
    "canada": "canadian canadians",
    "australia": "australian australians",
    "greece": "greek greeks",
    "hungary": "hungarian hungarians",
    "romania": "romanian romanians",
    "netherlands": "dutch holland",
    "belgium": "belgian belgians",
    "denmark": "danish danes",
    "austria": "austrian austrians",
    "india": "indian indians",
}
_NATION_OF = {word: nation for nation, line in _NATIONS.items() for word in line.split()}
_LONG_FORMS = {("united", "states"): "america", ("united", "kingdom"): "britain", ("great", "britain"): "britain"}
_LONG_FORMS |= {("soviet", "union"): "soviet"}
_SHORT_FORMS = {"U.S.": "america", "US": "america", "U.K.": "britain", "U.S.S.R.": "soviet", "U.S.A.": "america"}

_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀ-Ž]"
_WORD = (
    rf"(?:(?:[A-Z]\.){{2,}}|{_CAPITAL}\.(?=[ A-Z])|(?:St|Mt|Gen|Adm|Lt|Col|Maj|Capt|Dr|Mr|Mrs)\."
    rf"|{_CAPITAL}[\w'&-]*|[a-z]'{_CAPITAL}[\w'-]*)"
)
_NTH = r"\d+(?:st|nd|rd|th)(?= " + _CAPITAL + ")"
_BETWEEN = r"(?: (?:of|the|of the|de|la|le|du|des|von|van|der|den|von der|van der|di|da|bin|ibn|al|el))?"
_RUN = re.compile(rf"(?<![\w'|-])(?:{_NTH}|{_WORD})(?:{_BETWEEN} (?:{_NTH}|{_WORD})| (?:\d{{1,3}})(?![\w,.%:]))*")
_COUNT = re.compile("[ivx]{2,}")
_PARTICLES = frozenset(spaced("of the de la le du des von van der den di da bin ibn al el and"))


def find_names(text: str) -> Iterator[tuple[Name, str, int, int, bool]]:
    """(name, as written, start, end, weak) for each name of a tidy text.

    Weak are the words that may be no name of their own: an adjective of a nation before a noun, a country after the
    name of a place in it, and the capital that only begins a sentence.
    """
    for match in _RUN.finditer(text):
        start = match.start() + _leading(match[0])
        shown = text[start : match.end()].removesuffix("'s").rstrip("'")
        name = normal(shown)
        if name:
            yield name, shown, start, match.end(), _is_weak(text, name, start, match.end())


def _leading(run: str) -> int:
    """How many characters of a run are words like The, In or He."""
    taken = 0
    for word in re.findall(r"\S+ ?", run):
        bare = fold(word.strip(" .'"))
        if (bare not in FUNCTION_WORDS and bare not in MONTHS) or word.strip() in _SHORT_FORMS or len(bare) == 1:
            break
        taken += len(word)
    return taken


def normal(written: str) -> Name:
    """A name's words: folded, without titles, articles and particles; nations by their country, 6th for Sixth."""
    found: list[str] = []
    for word in written.split():
        if word in _SHORT_FORMS:
            found.append(_SHORT_FORMS[word])
            continue
        bare = fold(word.strip(".,'")).removesuffix("'s")
        bare = re.sub(r"(?<=[a-z])-(?=\d)|(?<=\d)-(?=[a-z])", "", bare)  # T-34 is T34
        parts = [part for part in re.split(r"[^\w]+", bare) if part]
        found += [_NATION_OF.get(part, ORDINALS.get(part, part)) for part in parts if part not in _PARTICLES]
    for long, short in _LONG_FORMS.items():
        for i in range(len(found) - 1):
            if tuple(found[i : i + 2]) == long:
                found[i : i + 2] = [short]
    bare_name = tuple(word for word in found if word not in TITLES)
    return bare_name if any(word not in FUNCTION_WORDS for word in bare_name) else ()


def _is_weak(text: str, name: Name, start: int, end: int) -> bool:
    goes_on = re.match(r" [a-z]", text[end:]) is not None
    begins = not text[:start].strip() or re.search(r"[.!?:;] ?[\"(]?$", text[:start]) is not None
    if len(name) == 1 and (begins or name[0] in _NATIONS) and goes_on:
        return True
    in_country = len(name) == 1 and name[0] in _NATIONS and re.search(r"\w, $", text[:start]) is not None
    return in_country or all(word in SORTS for word in name)


def same_name(said: Name, reference: Name, grounded: frozenset[str] = frozenset()) -> bool:
    """Does `said` name what `reference` names?

    A short form is good while it keeps the last telling word and every qualifier; a longer one is good when its other
    words are grounded (they stand in the question or its source). Initials stand for any word they begin.
    """
    if said == reference:
        return True
    missing = [word for word in reference if not _has(said, word)]
    more = [word for word in said if not _has(reference, word)]
    if any(word in QUALIFIERS for word in missing + more) or _clash(said, reference):
        return False
    if any(w in SORTS for w in missing) and any(w in SORTS for w in more):
        return False
    telling = [word for word in reference if word not in SORTS and word not in QUALIFIERS]
    nations_aside = [word for word in telling if word not in _NATIONS]
    if nations_aside:
        telling = nations_aside  # the German Panzer Lehr is Panzer Lehr
    elif any(word in QUALIFIERS for word in reference):
        return not [word for word in more if word not in SORTS]  # the German Sixth Army is the Sixth Army
    if not telling:
        return not missing and not more
    around = len(telling) > 1 and not missing and (said[0], said[-1]) == (reference[0], reference[-1])
    unknown = [w for w in more if not around and w not in SORTS and len(w) > 1 and w not in grounded]
    return _has(said, telling[-1]) and not unknown


def _clash(said: Name, reference: Name) -> bool:
    """Do both names have a given name, or an initial, that the other lacks? Then they are two people."""
    for is_sort in (_is_initial, _is_given):
        ours = [word for word in said if is_sort(word) and not _has(reference, word)]
        theirs = [word for word in reference if is_sort(word) and not _has(said, word)]
        if ours and theirs:
            return True
    apart = set(filter(_is_given, said)) ^ set(filter(_is_given, reference))
    return bool(apart & set(said)) and any(not _has(said, word) for word in apart & set(reference))


def _is_initial(word: str) -> bool:
    return len(word) == 1


def _is_given(word: str) -> bool:
    return len(word) > 1 and word not in SORTS


def _has(name: Name, word: str) -> bool:
    """Is the word, or an initial that stands for it, in the name?"""
    return any(w == word or (min(len(w), len(word)) == 1 and w[0] == word[0] and not _is_count(w, word)) for w in name)


def _is_count(*words: str) -> bool:
    """Is one of them a Roman number? George V is not George VI, and World War I is not the second."""
    return any(_COUNT.fullmatch(word) for word in words)
