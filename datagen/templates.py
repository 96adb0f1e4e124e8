"""The templates that carry facts, rendered: what a reader of the page would see, without conversions.

A template is a name, positional parameters and named ones, all plain text by now. `render_template` answers with
its text, with "" for what says nothing (citations, hatnotes, boxes), with HOLE for what says something that only
the wiki can work out (this year's value of old dollars), or with None for a name it does not know.
Parameters are as the English Wikipedia's template pages document them.
"""

from collections.abc import Callable, Mapping, Sequence

from datagen.template_names import (
    GLYPHS,
    HOLES,
    LANGUAGES,
    SECOND_SHOWN,
    SHIP_PREFIXES,
    SHOWN,
    SILENT,
    SILENT_ENDS,
    SILENT_STARTS,
    names,
)  # fmt: skip
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
        return _ship((name.upper(), *positional), named)
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
    """USS|Enterprise|CV-6 -> 'USS Enterprise (CV-6)'. A third parameter's bits choose: 4 prefix, 2 name, 1 number."""
    prefix, name, number, bits = (*positional, "", "", "", "")[:4]
    shown = int(bits) if bits.isdigit() and 0 < int(bits) < 8 else 7
    words = [prefix if shown & 4 else "", name if shown & 2 else ""]
    if number and shown & 1:
        words.append(f"({number})" if shown & 2 else number)
    return " ".join(word for word in words if word)


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


def _sic(positional: Positional, named: Named) -> str:
    return f"{''.join(positional)} [sic]" if any(positional) else "[sic]"


def _linked_abroad(positional: Positional, named: Named) -> str:
    """ill|Title|de|Titel|lt=shown -> 'shown'."""
    return named.get("lt") or _first(positional, named)


def _coordinates(positional: Positional, named: Named) -> str:
    """Said aside when inline, at the top of the page otherwise."""
    return "" if named.get("display", "inline") in ("title", "t") else ASIDE


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
    ("circa|c.|ca.|ca", _circa),
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
    ("sic", _sic),
    ("ill|interlanguage link|interlanguage link multi|illm|link-interwiki", _linked_abroad),
    ("coord|coords", _coordinates),
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
