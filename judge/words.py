"""Words in one normal form, and the short tables of English that the facts are read with."""

import re
import unicodedata

_MARKS = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "…": ".", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)  # no accents
_DASHES = re.compile("[\u2010-\u2015\u2212]")


def spaced(text: str) -> list[str]:
    """The words of a table that is written as they are read: with spaces between."""
    return text.split()


_NAMES_OF_MONTHS = spaced("january february march april may june july august september october november december")
MONTHS = {name: number for number, name in enumerate(_NAMES_OF_MONTHS, 1)}
MONTHS |= {name[:3]: number for name, number in MONTHS.items()} | {"sept": 9}

_ONES = spaced("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen")
_ONES += ["seventeen", "eighteen", "nineteen"]
_TENS = dict(zip(spaced("twenty thirty forty fifty sixty seventy eighty ninety"), range(20, 100, 10), strict=True))
SMALL = {word: value for value, word in enumerate(_ONES)} | _TENS | {"dozen": 12}

_NTH = spaced("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth")
_NTH += spaced("fifteenth sixteenth seventeenth eighteenth nineteenth twentieth")


def _nth(number: int) -> str:
    last = number % 10 if number // 10 % 10 != 1 else 0
    return f"{number}{('th', 'st', 'nd', 'rd')[last] if last < 4 else 'th'}"


ORDINALS = {word: _nth(number) for number, word in enumerate(_NTH, 1)}
ORDINALS |= {"thirtieth": "30th", "fortieth": "40th", "fiftieth": "50th", "hundredth": "100th"}
ORDINALS |= {
    f"{ten}{gap}{word}": _nth(value + number)
    for ten, value in list(_TENS.items())[:2]
    for number, word in enumerate(_NTH[:9], 1)
    for gap in "- "
}

_SPELLINGS = {
    "km": "km kilometre kilometres kilometer kilometers",
    "mile": "mile miles mi",
    "nautical mile": "nautical-mile nautical-miles",
    "m": "m metre metres meter meters",
    "cm": "cm centimetre centimetres centimeter centimeters",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "foot": "ft feet foot",
    "inch": "inch inches",
    "yard": "yard yards yd",
    "kg": "kg kilogram kilograms kilogramme kilogrammes",
    "ton": "ton tons tonne tonnes t",
    "pound": "lb lbs pound pounds",
    "knot": "knot knots kn",
    "km/h": "km/h kph",
    "mph": "mph",
    "second": "seconds",
    "minute": "minute minutes",
    "hour": "hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years",
    "percent": "% percent per-cent",
    "litre": "litre litres liter liters",
    "gallon": "gallon gallons",
    "acre": "acre acres",
    "hectare": "hectare hectares",
    "horsepower": "hp horsepower",
    "kiloton": "kiloton kilotons",
    "dollar": "dollar dollars",
}
UNITS = {spelling.replace("-", " "): unit for unit, line in _SPELLINGS.items() for spelling in line.split()}

FUNCTION_WORDS = frozenset(
    spaced(
        """a about according actually after again all almost also although an and another answer any approximately are
    around as at because before began being between both but by can choice complete correct did do does
    during each either every exactly few for from had has have he hence her here his how however i if in
    indeed initially into is it its just later letter likely many maybe more most my near nearly neither no
    nor not of often on once one only option or our over perhaps possibly probably question roughly she
    since sir so some soon statement such than that the their them then there therefore these they this
    those though through thus to today together under until upon us was we well were what when where whether
    which while who whom whose why will with within without yes yet you your"""
    )
)


def tidy(text: str) -> str:
    """The text with one kind of dash, quote and space; runs of white space are one space."""
    text = _DASHES.sub("-", unicodedata.normalize("NFC", text).translate(_MARKS))
    return " ".join(text.split())


def fold(word: str) -> str:
    """A word without case and accents: 'Besançon' is 'besancon', 'Władysław' is 'wladyslaw'."""
    if word.isascii():
        return word.lower()
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).translate(_LETTERS)


def words(text: str) -> list[str]:
    """The folded words and numbers of a text, without punctuation; ordinals in digits, 1,000 as 1000."""
    joined = re.sub(r"(?<=\d),(?=\d{3}\b)|(?<=\b[a-z])-(?=\d)", "", fold(tidy(text)))  # 1,000 and t-34
    found = re.findall(r"[^\W_]+(?:\.\d+)?(?:'[^\W_]+)?", joined)
    return [ORDINALS.get(word, word.removesuffix("'s")) for word in found]


def content(text: str) -> list[str]:
    """The words that carry meaning: no articles, no prepositions, no auxiliary verbs."""
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def holds_run(haystack: list[str], needle: list[str] | tuple[str, ...]) -> bool:
    """Is needle a run of neighbours in haystack? An empty needle is in nothing."""
    size = len(needle)
    return size > 0 and any(haystack[i : i + size] == list(needle) for i in range(len(haystack) - size + 1))
