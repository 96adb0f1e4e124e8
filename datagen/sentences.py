"""A paragraph in, its sentences out. sentencex cuts; a repair pass mends the cuts that military, geographic and
biographical prose provokes. Knows nothing of articles or snippets.

Repair joins neighbours, gives citation marks back to the sentence they follow, and cuts after a unit of measure.
No character is lost but white space.
"""

import re
from collections.abc import Iterable, Iterator

LANGUAGE = "en"


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What these shorten stands before a name, so no sentence ends with them when a name follows. Lower case, no stop.
RANKS = words(
    "gen lt col maj capt cpt sgt ssgt msgt cpl pvt pfc adm vadm radm cdr cmdr comdr lieut brig ens flt sqn ldr wg gp "
    "cdre comm hptm oblt uffz fw ofw obstlt hon rev fr msgr dr prof mr mrs ms mx messrs mme mlle gov sen rep pres amb "
    "sec supt insp det lt-gen maj-gen brig-gen lt-col lt-cdr lt-cmdr vice-adm rear-adm m.sgt t.sgt s.sgt"
)
PLACES = words("st ste mt mts ft pt pte cpe mtn")
UNITS = words("div bn btn regt rgt bde btty bty coy sq sqdn grp bat arty inf cav engr abn armd para pz pl bgde")
# Before a number, and a sentence may well end with them otherwise.
BEFORE_A_NUMBER = words("no nos nr vol vols fig figs chap sect art pp p approx ca c circa cf op viz est para ch ser")
MONTHS = words("jan feb mar apr jun jul aug sep sept oct nov dec")
NEVER_LAST = words("approx ca c circa cf vs viz e.g i.e")

COUNTRY = re.compile(r"\b(?:U\. ?S\.(?: ?A\.)?|U\. ?K\.|U\. ?N\.|U\.S\.S\.R\.|D\.C\.|R\.N\.|U\.S\.A\.A\.F\.)$")
ORDINAL = r"(?:\d+(?:st|nd|rd|d|th)|First|Second|Third|Fourth|Fifth|Sixth|Seventh|Eighth|Ninth|Tenth|[IVX]+)"
OF_A_COUNTRY = re.compile(
    rf"(?:{ORDINAL} )?(?:(?:Army|Navy|Naval|Marines?|Air|Coast|Armed|Special|Pacific|Asiatic|Atlantic|Home|Fleet|"
    r"Corps|Infantry|Cavalry|Airborne|Armou?red|Division|Regiment|Battalion|Brigade|Squadron|Task|Strategic|Military|"
    r"National|Government|Congress|Senate|House|Supreme|Circuit|District|Court|Constitution|President|Vice|Secretary|"
    r"Department|State|War|Embassy|Ambassador|Consul(?:ate)?|General|Treasury|Census|Bureau|Attorney|Representatives?|"
    r"Senators?|Security|Charter|Open|Route|Highway|Geological|Rangers?|Forces?|Troops|Soldiers)\b|" + ORDINAL + r" )"
)
TIME_OF_DAY = re.compile(r"\b[ap]\.m\.$")
AFTER_A_TIME = re.compile(r"(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|[A-Z]{3,4}|(?:[A-Z][a-z]+ )+time)\b")
INSIDE = re.compile(r"[A-Z]\.$")  # and no space: "U." of "U.S."
MEASURED = re.compile(r"\d \S+$")
ERA = re.compile(r"\b(?:B\.C\.(?:E\.)?|A\.D\.|C\.E\.|Ph\.D\.)$")
INITIAL = re.compile(r"(?:^|[\s(\"“‘.-])[A-Z]\.$")
BEFORE_AN_INITIAL = re.compile(r"(\S+) [(\"“‘]?[A-Z]\.$")
LETTERED = words(  # "Company B." ends a sentence; "Dwight D." does not
    "Company Battery Troop Squadron Group Army Plan Point Type Class Vitamin Hepatitis Section Part Model "
    "Beach Sector Appendix Annex Block Column Team Series Variant Stalag Oflag Programme Program and or"
)
# A sentence often starts with one of these, a name never does.
STARTERS = words(
    "The A An In On At By For From With After Before During When While As It Its He His She Her They Their This That "
    "These Those There Then Thus However Although Though Since Because If But And Or So Both Each All Many Most Some "
    "Several Another Other Only Under Over Between Within Without Despite Following Later Soon Meanwhile Until Upon "
    "Once Not No Such We You I What Which Who Where Why How Here Today Nearly About Around Early Late"
)
OPENERS = "(\"'“‘[«"
LAST_WORD = re.compile(r"\S+$")
ENDS = re.compile(r"[.!?…。][\"'”’)\]»]*(?:\s*\[[^\[\]]{1,20}\])*$")
DANGLING = re.compile(r"(?<=[.!?)]) [\"“‘(]\s*$")  # opens the next sentence
GOES_ON = re.compile(r"[a-z,;:)\]%–—]")
MARKS = re.compile(r"(?:\s*\[(?:\d{1,3}|[a-z]|(?:note|nb|n) \d{1,2}|citation needed)\])+")
STARTER = "(?:" + "|".join(sorted(STARTERS)) + ") "
MISSED = re.compile(  # cuts that sentencex leaves out: "500 m. It", "plan B. The", "Company C. Smoke"
    rf"(?P<end>\d (?:m|km|mi|ft|yd|mm|cm|kg|lb|oz|t|hp|kW|mph|kn|nmi|ha|in)\.(?= {STARTER})"
    rf"| [A-Z]\.(?= {STARTER})|[.!?]\)(?= {STARTER})"
    rf"|\b(?:{'|'.join(sorted(LETTERED - {'and', 'or'}))}) [A-Z]\.(?= [A-Z][a-z])) "
)


def split(paragraph: str) -> list[str]:
    """The sentences of one paragraph, in order; each stands in it as it is, white space aside.

    paragraph: text whose line breaks mean nothing. A run of white space counts as one space; no text has no sentence.
    """
    return list(repair(pieces(paragraph)))


def pieces(paragraph: str) -> list[str]:
    """What sentencex alone makes of a paragraph, white space included. The repair is measured against it."""
    from sentencex import segment

    return list(segment(LANGUAGE, " ".join(paragraph.split())))


def repair(pieces: Iterable[str]) -> Iterator[str]:
    """Mend the cuts between a paragraph's pieces."""
    sentence = ""
    for piece in pieces:
        if sentence.strip() and (marks := MARKS.match(piece)):
            sentence, piece = sentence + marks.group(), piece[marks.end() :]
        if dangling := DANGLING.search(sentence):
            sentence, piece = sentence[: dangling.start()], dangling.group().lstrip() + piece
        before, after = sentence.strip(), piece.strip()
        is_inside_a_word = sentence[-1:].isalnum() or (INSIDE.search(sentence) and piece[:1].isalpha())
        if before and after and not is_inside_a_word and not is_wrong_cut(before, after):
            yield from cut_missed(before)
            sentence = piece
        else:
            sentence += piece
    if sentence.strip():
        yield from cut_missed(sentence.strip())


def cut_missed(sentence: str) -> list[str]:
    """Cut after a unit of measure or a letter that is no initial, where the next word can only start a sentence."""
    return MISSED.sub("\\g<end>\n", sentence).split("\n")


def is_wrong_cut(before: str, after: str) -> bool:
    """Whether two neighbours are one sentence: `before` stopped at an abbreviation, or `after` plainly goes on."""
    if not ENDS.search(before) or GOES_ON.match(after):
        return True
    last = LAST_WORD.findall(before)[-1].lstrip(OPENERS).removesuffix(".").lower()
    first = after.lstrip(OPENERS)
    if last in NEVER_LAST:
        return True
    if last in PLACES and MEASURED.search(before):
        return False  # "2,413 ft." is no fort
    if last in RANKS or last in PLACES or last in UNITS:
        return is_name(first) or (last in UNITS and first[:1].isdigit())
    if last in BEFORE_A_NUMBER or last in MONTHS:
        return first[:1].isdigit()
    if COUNTRY.search(before):
        return OF_A_COUNTRY.match(first) is not None
    if TIME_OF_DAY.search(before):
        return AFTER_A_TIME.match(first) is not None and is_name(first)
    return is_initial(before) and is_name(first)


def is_initial(before: str) -> bool:
    """Whether a text ends in a person's initial: 'Dwight D.', 'J. R.', but not 'Company B.' or 'plan B.'"""
    if not INITIAL.search(before) or ERA.search(before):
        return False
    previous = BEFORE_AN_INITIAL.search(before)
    if previous is None:
        return True  # the whole text is one initial, or two written together
    word = previous.group(1).lstrip(OPENERS)
    return word[:1].isupper() and word.rstrip("s") not in LETTERED and word not in STARTERS - {"A", "I"}


def is_name(text: str) -> bool:
    """Whether a text could start with a name: a capital, and no word that only starts sentences."""
    first = re.match(r"[^\W\d_]+", text)
    return first is not None and first.group()[0].isupper() and (first.group() not in STARTERS or text[1:2] == ".")
