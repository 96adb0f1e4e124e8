"""The templates that carry facts, rendered: what a reader of the page would see, without conversions.

A template is a name, positional parameters and named ones, all plain text by now. `render_template` answers with
its text, with "" for what says nothing (citations, hatnotes, boxes), with HOLE for what says something that only
the wiki can work out (this year's value of old dollars), or with None for a name it does not know.
Parameters are as the English Wikipedia's template pages document them.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from datagen.units import convert, with_commas

HOLE = "\ufffc"  # Unicode's object replacement character: something stood here
ASIDE = "\ufffb"  # a pronunciation stood here: nothing is missing when it goes with its brackets

Positional = Sequence[str]
Named = Mapping[str, str]
Template = Callable[[Positional, Named], str]

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
YES = ("y", "yes", "on", "true", "1")


def names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.replace("\n", " ").split("|"))


SILENT = names(
    "sfn|sfnp|sfnm|sfnb|harvnb|harvtxt|harv|harvp|harvcoltxt|harvard citation|harvard citation no brackets|harvid|"
    "refn|efn|efn-ua|efn-lr|notetag|note|ref|ref label|note label|#tag:ref|r|rp|cite|citation|cn|fact|"
    "citation needed|citation needed span|clarify|when|who|which|where|why|by whom|whom|says who|according to whom|"
    "dubious|vague|specify|page needed|pages needed|page number|year needed|full citation needed|better source|"
    "better source needed|failed verification|verify source|verify quote|vs|vn|unreliable source?|unreliable source|"
    "self-published inline|original research inline|or|weasel inline|weasel-inline|peacock inline|pov-inline|"
    "pov-statement|neutrality|attribution needed|dead link|dl|webarchive|wayback|cbignore|isbn|issn|oclc|doi|pmid|"
    "pmc|lccn|jstor|arxiv|asin|google books|youtube|update inline|update after|needs update|disputed inline|"
    "disputed-inline|contradict-inline|contradiction-inline|inconsistent|discuss|lead missing|relevance inline|"
    "importance inline|undue inline|disambiguation needed|dn|not in source|nb|inline citations|ambiguous|elucidate|"
    "examples|quantify|flagicon|flagicon image|flagdeco|flagu icon|fr icon|ru icon|de icon|en icon|ja icon|es icon|"
    "it icon|sup-icon|icon|increase|decrease|steady|coord|coords|anchor|anchors|visible anchor end|main|main article|"
    "see also|further|further information|details|about|for|other uses|otheruses|redirect|redirect2|distinguish|"
    "hatnote|other people|use dmy dates|use mdy dates|use british english|use american english|short description|"
    "good article|featured article|pp|pp-move|pp-move-indef|pp-semi-indef|pp-protected|pp-vandalism|reflist|refbegin|"
    "refend|notelist|authority control|commons category|commons|commons-inline|commons category-inline|wikiquote|"
    "wikisource|wiktionary|wikibooks|wikispecies|sister project links|portal|portal bar|navboxes|clear|-|clear left|"
    "clear right|toc|toc left|toc right|toclimit|toc limit|no toc|div col|div col end|div col begin|col-begin|"
    "col-end|col-break|colbegin|colend|columns-list|hlist|plainlist|endplainlist|flatlist|unbulleted list|ubl|"
    "vunblist|bulleted list|bartable|bar box|bar percent|clade|chart|legend|multiple image|double image|image label|"
    "image frame|wide image|panorama|css image crop|photomontage|gallery|listen|audio|quote box|quotebox|"
    "disambiguation|disambig|dmoz|official website|imdb name|imdb title|find a grave|library resources box|"
    "internet archive author|librivox author|gutenberg author|wikisource-inline|wikiatlas|osmrelation-inline|s-start|"
    "s-end|s-bef|s-ttl|s-aft|refimprove|refimprove section|more citations needed|more citations needed section|"
    "unreferenced|unreferenced section|expand section|more footnotes|no footnotes|inconsistent citations|pov|cleanup|"
    "update|by|void|null|shy|wbr|zwj|zwnj|zwsp|#if|pagename|defaultsort|displaytitle|lowercase title|italic title|"
    "fossil range|fossilrange|geological range|sic|'|thinsp|hidden begin|hidden end|collapse top|collapse bottom|"
    "cia world factbook link|geographic location|navbox|wikipedia books|mw-datatable|pipe escape"
)
SILENT_STARTS = (
    "cite ", "vcite", "infobox", "taxobox", "automatic taxobox", "campaignbox", "defaultsort:", "navbox", "pp-",
    "use ", "efn", "sfn", "harv", "reflist", "sidebar", "portal", "commons", "wikt", "s-", "col-", "citation", "#tag",
    "ref-", "toc", "expand ", "redirect", "displaytitle:", "bots", "nobots", "subject bar", "series ", "cleanup",
    "unreferenced", "lead ", "cat ", "category ", "short description", "coord", "annotated image", "location map",
    "pie chart", "graph:", "main ", "bar chart", "climate chart", "weather box", "historical populations",
    "us census population",
)  # fmt: skip
SILENT_ENDS = (" icon", "-stub", " navbox", " topics", " sidebar", " series")
HOLES = names(
    "inflation|inflation-year|inflation-fn|formatprice|to usd|currentyear|currentmonth|currentday|age|age in years|"
    "age in days|age in years and days|age nts|time ago|years ago|#expr|#time|inrconvert|us$-convert|"
    "number of articles|numberofarticles|population|math|mvar|tmath|chem2|rail gauge|railgauge"
)
SHOWN = names(  # the first parameter is what is seen
    "nowrap|nobr|nowraplinks|nobold|noitalic|small|smaller|smalldiv|big|larger|resize:|em|strong|strongbad|bold|b|i|"
    "italics|italic|u|underline|sc|smallcaps|small caps|smallcaps2|abbr|abbrv|tooltip|hover title|visible anchor|"
    "vanchor|not a typo|typo|sic inline|as written|proper name|keypress|key|kbd|key press|code|mono|tt|samp|var|tq|"
    "longitem|nts|ntsh|number table sorting|native phrase|quote|blockquote|quotation|bq|cquote|rquote|"
    "centered pull quote|poem quote|poemquote|center|centre|align|notatypo|lcfirst:|ucfirst:|lc:|uc:|title case|"
    "midsize|font|allow wrap|normal|roman|rn|ship name|ill|interlanguage link|interlanguage link multi|illm|"
    "link-interwiki|flag|flagcountry|flagu|flaglist|country data|army|navy|air force|armed forces|noflag|flagg|"
    "unicode|script|linktext|wikt-lang|wict|dates|hebrew|arabic|script/hebrew|script/arabic|angle bracket content|"
    "sortname first|nihongo foot|nihongo2|nihongo core|zh-full|asiantitle|no wrap|avoid wrap|ordered|snamei|sname|"
    "species|ipalink|lcode|cmn|nastaliq|my|polytonic|grc"
)
SECOND_SHOWN = names(  # the last parameter is what is seen
    "lang|color|font color|colour|colored link|hover|resize|font size|fontcolor|transl|transliteration|rtl-lang|"
    "lang-rtl|background color|bgcolor|text color|wikt|link|lk|see section|seclink|plain link"
)
GLYPHS = {
    "nbsp": " ", "spaces": " ", "space": " ", "sp": " ", "nnbsp": " ", "thin space": " ", "hair space": " ", "0": "0",
    "ndash": "–", "en dash": "–", "–": "–", "mdash": "—", "em dash": "—", "—": "—", "snd": " – ", "spnd": " – ",
    "spaced ndash": " – ", "spaced en dash": " – ", "dash": " – ", "mdashb": "—", "ndashb": "–", "snds": " – ",
    "spmd": " — ", "!": "|", "=": "=", "·": " · ", "dot": " · ", "middot": "·", "•": " • ", "bullet": " • ",
    "'s": "'s", "'": "'", "pi": "π", "minus": "−", "times": "×", "x": "×", "±": "±", "+-": "±", "pm": "±",
    "half": "1/2", "degree": "°", "deg": "°", "(": "{", ")": "}", "((": "{{", "))": "}}", "sharp": "♯", "flat": "♭",
    "number sign": "#", "pipe": "|", "colon": ":", "bc": "BC", "ad": "AD", "ussr": "USSR", "gbp": "£", "euro": "€",
    "pound sterling": "£", "\"": "\"", "' \"": "' \"", "\" '": "\" '", "'\"": "'\"", "\"'": "\"'", "-\"": "-\"",
    "-'": "-'", "c.": "c.", "ca.": "c.", "sup2": "²",
}  # fmt: skip
SHIP_PREFIXES = names(
    "uss|hms|hmas|hmcs|hmnzs|hmt|hmsas|hmis|sms|ss|ms|mv|rms|mts|mt|usat|usns|uscgc|usav|orp|iss|ins|bap|ara|hnoms|"
    "hdms|hswms|hnlms|hmns|rfa|mvs|sts|fs|emb|hmhs|hmhts|psq|ps|gts|ts|ns|usc&gs|hmy|smu"
)
LANGUAGES = {
    "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "bs": "Bosnian",
    "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "es": "Spanish",
    "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French", "ga": "Irish", "gr": "Greek",
    "grc": "Ancient Greek", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh",
    "ko": "Korean", "la": "Latin", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "mn": "Mongolian",
    "ms": "Malay", "mt": "Maltese", "my": "Burmese", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sa": "Sanskrit", "sh": "Serbo-Croatian", "sk": "Slovak",
    "sl": "Slovene", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "ta": "Tamil", "th": "Thai", "tl": "Tagalog",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese", "yi": "Yiddish",
    "zh": "Chinese", "nah": "Nahuatl", "fil": "Filipino", "af": "Afrikaans",
}  # fmt: skip
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,})*(?:-\d+)?")


def render_template(name: str, positional: Positional, named: Named) -> str | None:
    """A template's text, "" when it says nothing, HOLE when only the wiki could say it, None when it is unknown.

    name: lower case, single spaces. positional, named: parameters as plain text, named keys in lower case.
    """
    if handler := TABLE.get(name):
        return handler(positional, named)
    if name in HOLES:
        return HOLE
    if name in GLYPHS:
        return GLYPHS[name]
    if name in SHOWN:
        return _first(positional, named)
    if name in SECOND_SHOWN:
        return positional[-1] if len(positional) > 1 else _first(positional, named)
    if name in SHIP_PREFIXES:
        return _ship((name.upper() if name not in ("ss",) else "SS", *positional), named)
    if name in SILENT or name.startswith(SILENT_STARTS) or name.endswith(SILENT_ENDS):
        return ""
    return _by_shape(name, positional, named)


def _by_shape(name: str, positional: Positional, named: Named) -> str | None:
    if name.startswith("lang-"):
        return _language(name.removeprefix("lang-"), positional, named)
    if name.startswith("ipa") or name == "respell":
        return ASIDE
    if name.startswith("formatnum:"):
        return with_commas(name.removeprefix("formatnum:").strip())
    for function in ("lc:", "uc:", "ucfirst:", "lcfirst:"):
        if name.startswith(function):
            return name.removeprefix(function)
    return None


def _first(positional: Positional, named: Named) -> str:
    """The text of a template that shows one thing; a quotation names it `text` or `quote`."""
    if positional:
        return positional[0]
    return named.get("text") or named.get("quote") or named.get("content") or ""


def _language(code: str, positional: Positional, named: Named) -> str:
    """lang-ru|Москва|Moskva -> 'Russian: Москва, Moskva'."""
    shown = [text for text in (positional[0] if positional else named.get("text", ""),) if text]
    romanised = positional[1] if len(positional) > 1 else named.get("translit", "")
    meaning = positional[2] if len(positional) > 2 else named.get("lit", "")
    shown += [text for text in (romanised, f"lit. '{meaning}'" if meaning else "") if text]
    label = LANGUAGES.get(code.partition("-")[0], "")
    if not shown:
        return HOLE
    return f"{label}: {', '.join(shown)}" if label and named.get("label") != "none" else ", ".join(shown)


def _langx(positional: Positional, named: Named) -> str:
    return _language(positional[0], positional[1:], named) if positional else HOLE


def _circa(positional: Positional, named: Named) -> str:
    return " – ".join(f"c. {year}" for year in positional[:2] if year) or "c."


def _floruit(positional: Positional, named: Named) -> str:
    return f"fl. {'–'.join(part for part in positional[:2] if part)}".strip()


def _val(positional: Positional, named: Named) -> str:
    """val|1.5|0.2|e=6|u=km -> '1.5±0.2×10⁶ km'."""
    if not positional:
        return HOLE
    value = f"{named.get('p', '')}{with_commas(positional[0])}"
    if len(positional) == 2 and positional[1]:
        value += f"±{with_commas(positional[1])}"
    elif len(positional) > 2:
        value += f"+{positional[1].lstrip('+')}/−{positional[2].lstrip('-−')}"
    if power := named.get("e"):
        value += _power([power], {})
    unit = named.get("u") or named.get("ul") or named.get("upl") or ""
    return f"{value}{named.get('s', '')}{' ' if unit and unit not in ('%', '°') else ''}{unit}"


def _power(positional: Positional, named: Named) -> str:
    digits = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
    return f"×10{positional[0].translate(digits)}" if positional else HOLE


def _fraction(positional: Positional, named: Named) -> str:
    """frac|2 -> 1/2, frac|3|4 -> 3/4, frac|5|3|4 -> 5 3/4."""
    parts = [part for part in positional if part]
    if not 1 <= len(parts) <= 3:
        return HOLE
    return (
        f"{parts[0]} {parts[1]}/{parts[2]}"
        if len(parts) == 3
        else "/".join(parts if len(parts) == 2 else ("1", *parts))
    )


def _nihongo(positional: Positional, named: Named) -> str:
    """nihongo|English|kanji|romaji|note -> 'English (kanji, romaji, note)'."""
    english, *rest = (*positional, "")
    details = ", ".join(part for part in (*rest, named.get("extra", "")) if part)
    if not english:
        return details or HOLE
    return f"{english} ({details})" if details else english


def _as_of(positional: Positional, named: Named) -> str:
    if alternative := named.get("alt"):
        return alternative
    lead = "since" if named.get("since") in YES else "as of"
    lead = lead if named.get("lc") in YES else lead.capitalize()
    when = _date(positional, {"df": "" if named.get("df") == "us" else "y"})
    return when if when == HOLE or named.get("bare") in YES else f"{lead} {when}"


def _date(positional: Positional, named: Named) -> str:
    """Year, month, day, as numbers or a text: 'May 8, 1945', or '8 May 1945' with df=y."""
    parts = [part for part in positional[:3] if part]
    if not parts:
        return HOLE
    if not all(part.isdigit() for part in parts):
        return parts[0] if len(parts) == 1 else " ".join(reversed(parts))
    year, *rest = parts
    if not rest:
        return year
    month, *days = rest
    if not 1 <= int(month) <= 12:
        return HOLE
    name = MONTHS[int(month) - 1]
    if not days:
        return f"{name} {year}"
    return f"{int(days[0])} {name} {year}" if named.get("df") in YES else f"{name} {int(days[0])}, {year}"


def _died_at_age(positional: Positional, named: Named) -> str:
    """death date and age|1945|4|30|1889|4|20 -> 'April 30, 1945 (aged 56)'."""
    numbers = [int(part) for part in positional[:6] if part.isdigit()]
    died = _date(positional, named)
    if len(numbers) != 6:
        return died
    age = numbers[0] - numbers[3] - (tuple(numbers[1:3]) < tuple(numbers[4:6]))
    return f"{died} (aged {age})"


def _ship(positional: Positional, named: Named) -> str:
    """USS|Enterprise|CV-6 -> 'USS Enterprise (CV-6)'; a third parameter is how much of it to show."""
    prefix, name, hull, how = (*positional, "", "", "", "")[:4]
    if not name:
        return prefix
    if how == "2":
        return name
    if how in ("1", "5"):
        return hull or name
    whole = f"{prefix} {name}".strip()
    return f"{whole} ({hull})" if hull and not how else whole


def _ship_class(positional: Positional, named: Named) -> str:
    """sclass|Iowa|battleship -> 'Iowa-class battleship'."""
    if len(positional) < 2:
        return f"{positional[0]} class" if positional else HOLE
    return f"{positional[0]}-class {positional[1]}".strip()


def _quote(positional: Positional, named: Named) -> str:
    return f"\n\n{_first(positional, named)}\n\n"


def _ordinal(positional: Positional, named: Named) -> str:
    number = positional[0] if positional else ""
    if not number.isdigit():
        return HOLE
    teen = 10 <= int(number) % 100 <= 20
    return number + ("th" if teen else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th"))


def _joined(positional: Positional, named: Named) -> str:
    return "".join(positional)


def _height(positional: Positional, named: Named) -> str:
    shown = {"m": "m", "cm": "cm", "ft": "ft", "in": "in"}
    return " ".join(f"{named[key]} {unit}" for key, unit in shown.items() if named.get(key)) or HOLE


def _after(lead: str) -> Template:
    def render(positional: Positional, named: Named) -> str:
        return f"{lead}{_first(positional, named)}".strip()

    return render


def _around(opens: str, closes: str) -> Template:
    def render(positional: Positional, named: Named) -> str:
        return f"{opens}{_first(positional, named)}{closes}"

    return render


def _money(sign: str) -> Template:
    def render(positional: Positional, named: Named) -> str:
        return f"{sign}{with_commas(positional[0])}" if positional else sign

    return render


def _convert(positional: Positional, named: Named) -> str:
    shown = convert(positional, named)
    return HOLE if shown is None else shown


def _table(*rows: tuple[str, Template]) -> dict[str, Template]:
    return {name: template for some, template in rows for name in names(some)}


TABLE: dict[str, Template] = _table(
    ("convert|cvt|conv|unit convert|convertinput", _convert),
    ("langx", _langx),
    ("circa|c.|ca.|c|ca", _circa),
    ("floruit|fl.", _floruit),
    ("val|ushort|physval", _val),
    ("e", _power),
    ("frac|fraction|sfrac|⅄", _fraction),
    ("nihongo|nihongo3|nihongo krt", _nihongo),
    ("as of|asof", _as_of),
    ("start date|end date|start-date|end-date|birth date|death date|dob|film date|dts|date|start date text|"
     "birth date and age|bda|birth-date|birth-date and age|death-date|start date and age|"
     "start date and years ago", _date),
    ("death date and age|dda|death-date and age", _died_at_age),
    ("ship", _ship),
    ("sclass|sclass-|sclass2|sclass2-|sclass/core", _ship_class),
    ("quote|blockquote|quotation|bq|cquote|rquote|poemquote|poem quote|centered pull quote", _quote),
    ("ordinal|ord|nth", _ordinal),
    ("gaps|chem|simplenuclide|joined", _joined),
    ("height", _height),
    ("née|nee", _after("née ")),
    ("né", _after("né ")),
    ("lit|lit.|literally|literal translation", _around("lit. '", "'")),
    ("gloss", _around("'", "'")),
    ("angbr|angle bracket", _around("⟨", "⟩")),
    ("bracket|bracketed|interp", _around("[", "]")),
    ("us$|usd", _money("US$")),
    ("£|gbp|uk£|pound", _money("£")),
    ("€|eur|euro", _money("€")),
    ("a$|aud", _money("A$")),
    ("formatnum|num|number", _money("")),
)  # fmt: skip
