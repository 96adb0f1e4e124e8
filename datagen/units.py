"""{{convert}}: the quantity as its author gave it, with its unit's name; the converted one is left out.

"5 kilometres (3.1 mi)" is rendered "5 kilometres". Parameters: en.wikipedia.org/wiki/Template:Convert.
"""

import re
from collections.abc import Mapping, Sequence

# code: (one, many, symbol)
_PLAIN = """
km kilometre kilometres km | m metre metres m | cm centimetre centimetres cm | mm millimetre millimetres mm
mi mile miles mi | miles mile miles mi | mile mile miles mi | yd yard yards yd | yard yard yards yd
yards yard yards yd | ft foot feet ft | foot foot feet ft | feet foot feet ft | in inch inches in
inch inch inches in | kg kilogram kilograms kg | g gram grams g | t tonne tonnes t | MT tonne tonnes t
tonne tonne tonnes t | lb pound pounds lb | lbs pound pounds lb | oz ounce ounces oz | st stone stone st
l litre litres l | L litre litres L | ha hectare hectares ha | acre acre acres acres | acres acre acres acres
hp horsepower horsepower hp | bhp horsepower horsepower bhp | W watt watts W | kW kilowatt kilowatts kW
MW megawatt megawatts MW | GW gigawatt gigawatts GW | J joule joules J | kJ kilojoule kilojoules kJ
nmi nmi nmi nmi | kn knot knots kn | knot knot knots kn | mph mph mph mph | kph km/h km/h km/h
kPa kilopascal kilopascals kPa | MPa megapascal megapascals MPa | bar bar bar bar | psi psi psi psi
K kelvin kelvins K | N newton newtons N | kN kilonewton kilonewtons kN | Hz hertz hertz Hz
MHz megahertz megahertz MHz | furlong furlong furlongs furlongs | fathom fathom fathoms fathoms
league league leagues leagues | chain chain chains chains | rod rod rods rods | hand hand hands hands
cord cord cords cords | carat carat carats carats | cal calorie calories cal | kcal kilocalorie kilocalories kcal
atm atmosphere atmospheres atm | um micrometre micrometres μm | μm micrometre micrometres μm
nm nanometre nanometres nm | AU au au au | pc parsec parsecs pc | ml millilitre millilitres ml
mL millilitre millilitres mL | mg milligram milligrams mg | ly light-year light-years ly
"""
UNITS: dict[str, tuple[str, str, str]] = {
    code: (one, many, symbol)
    for code, one, many, symbol in (row.split() for row in re.split(r"[|\n]", _PLAIN) if row.strip())
} | {
    "km2": ("square kilometre", "square kilometres", "km²"),
    "sqkm": ("square kilometre", "square kilometres", "km²"),
    "m2": ("square metre", "square metres", "m²"),
    "sqm": ("square metre", "square metres", "m²"),
    "cm2": ("square centimetre", "square centimetres", "cm²"),
    "mi2": ("square mile", "square miles", "sq mi"),
    "sqmi": ("square mile", "square miles", "sq mi"),
    "sqft": ("square foot", "square feet", "sq ft"),
    "ft2": ("square foot", "square feet", "sq ft"),
    "sqyd": ("square yard", "square yards", "sq yd"),
    "sqin": ("square inch", "square inches", "sq in"),
    "m3": ("cubic metre", "cubic metres", "m³"),
    "km3": ("cubic kilometre", "cubic kilometres", "km³"),
    "cm3": ("cubic centimetre", "cubic centimetres", "cm³"),
    "cuft": ("cubic foot", "cubic feet", "cu ft"),
    "ft3": ("cubic foot", "cubic feet", "cu ft"),
    "cumi": ("cubic mile", "cubic miles", "cu mi"),
    "cuyd": ("cubic yard", "cubic yards", "cu yd"),
    "cuin": ("cubic inch", "cubic inches", "cu in"),
    "USgal": ("US gallon", "US gallons", "US gal"),
    "impgal": ("imperial gallon", "imperial gallons", "imp gal"),
    "U.S.gal": ("US gallon", "US gallons", "US gal"),
    "oilbbl": ("barrel", "barrels", "bbl"),
    "LT": ("long ton", "long tons", "long tons"),
    "long": ("long ton", "long tons", "long tons"),
    "long ton": ("long ton", "long tons", "long tons"),
    "ST": ("short ton", "short tons", "short tons"),
    "short ton": ("short ton", "short tons", "short tons"),
    "shp": ("shaft horsepower", "shaft horsepower", "shp"),
    "ihp": ("indicated horsepower", "indicated horsepower", "ihp"),
    "PS": ("metric horsepower", "metric horsepower", "PS"),
    "NM": ("nautical mile", "nautical miles", "nmi"),
    "nmi": ("nautical mile", "nautical miles", "nmi"),
    "mph": ("mile per hour", "miles per hour", "mph"),
    "km/h": ("kilometre per hour", "kilometres per hour", "km/h"),
    "kmh": ("kilometre per hour", "kilometres per hour", "km/h"),
    "m/s": ("metre per second", "metres per second", "m/s"),
    "ft/s": ("foot per second", "feet per second", "ft/s"),
    "ft/min": ("foot per minute", "feet per minute", "ft/min"),
    "km/s": ("kilometre per second", "kilometres per second", "km/s"),
    "m3/s": ("cubic metre per second", "cubic metres per second", "m³/s"),
    "cuft/s": ("cubic foot per second", "cubic feet per second", "cu ft/s"),
    "km/l": ("kilometre per litre", "kilometres per litre", "km/L"),
    "mpgus": ("mile per US gallon", "miles per US gallon", "mpg"),
    "PD/km2": ("inhabitant per square kilometre", "inhabitants per square kilometre", "/km²"),
    "PD/sqmi": ("inhabitant per square mile", "inhabitants per square mile", "/sq mi"),
    "/km2": ("per square kilometre", "per square kilometre", "/km²"),
    "/sqmi": ("per square mile", "per square mile", "/sq mi"),
    "kg/m3": ("kilogram per cubic metre", "kilograms per cubic metre", "kg/m³"),
    "g/cm3": ("gram per cubic centimetre", "grams per cubic centimetre", "g/cm³"),
    "°C": ("°C", "°C", "°C"),
    "°F": ("°F", "°F", "°F"),
    "C": ("°C", "°C", "°C"),
    "F": ("°F", "°F", "°F"),
    "C-change": ("°C", "°C", "°C"),
    "F-change": ("°F", "°F", "°F"),
    "kWh": ("kilowatt hour", "kilowatt hours", "kWh"),
    "Nm": ("newton metre", "newton metres", "N⋅m"),
    "lbft": ("pound-foot", "pound-feet", "lb⋅ft"),
    "ft.lbf": ("foot-pound", "foot-pounds", "ft⋅lb"),
    "lbf": ("pound-force", "pounds-force", "lbf"),
    "kgf": ("kilogram-force", "kilograms-force", "kgf"),
}
MULTIPLES = {
    "k": "thousand",
    "M": "million",
    "G": "billion",
    "T": "trillion",
    "e3": "thousand",
    "e6": "million",
    "e9": "billion",
}
JOINERS = {
    "-": "–", "–": "–", "to": " to ", "to(-)": " to ", "by": " by ", "x": " × ", "xx": " × ", "×": " × ",
    "and": " and ", "&": " and ", "or": " or ", "and(-)": " and ", "+/-": " ± ", "±": " ± ", ",": ", ",
    "to about": " to about ", "*": " × ", "/": "/", ", or": ", or ",
}  # fmt: skip
NUMBER = re.compile(
    r"[-−–+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*e[-+]?\d+)?(?:\+\d+/{1,2}\d+)?|\d+/{1,2}\d+", re.IGNORECASE
)
DEGREES = ("°C", "°F")


def convert(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    """The quantity in the unit it was given in, or None when a number or unit is not one we know.

    positional: numbers, words between them ('to', 'by', 'x', '-'), the unit, then units to convert to.
    named: abbr, adj, sp, disp as the template takes them.
    """
    numbers: list[str] = []
    between: list[str] = []
    rest = [part.strip() for part in positional]
    while rest and NUMBER.fullmatch(rest[0]):
        numbers.append(rest.pop(0))
        if len(rest) > 1 and rest[0] in JOINERS and NUMBER.fullmatch(rest[1]):
            between.append(JOINERS[rest.pop(0)])
        else:
            break
    if not numbers or not rest or unit_names(rest[0]) is None:
        return None
    unit, abbreviated = rest[0], named.get("abbr") in ("on", "in", "values") or named.get("adj") == "pre"
    if len(rest) > 2 and NUMBER.fullmatch(rest[1]) and rest[2] in UNITS:  # 6 ft 2 in
        smaller = _quantity([rest[1]], [], rest[2], named, abbreviated)
        return f"{_quantity(numbers, between, unit, named, abbreviated)} {smaller}"
    if named.get("disp") == "number":
        return _range(numbers, between)
    return _quantity(numbers, between, unit, named, abbreviated)


def unit_names(code: str) -> tuple[str, str, str] | None:
    """One, many and the symbol of a unit: 'km', but also 'Moilbbl/d' (million barrels per day). None if unknown."""
    if code in UNITS:
        return UNITS[code]
    if code.endswith(("/d", "/a")) and (whole := unit_names(code[:-2])):
        each = " per day" if code.endswith("/d") else " per year"
        return whole[0] + each, whole[1] + each, whole[2] + each
    for prefix, word in MULTIPLES.items():
        if code.startswith(prefix) and (names := UNITS.get(code.removeprefix(prefix))):
            return f"{word} {names[1]}", f"{word} {names[1]}", f"{word} {names[2]}"
    return None


def _range(numbers: Sequence[str], between: Sequence[str]) -> str:
    pairs = zip(numbers, (*between, ""), strict=True)
    return "".join(f"{with_commas(number)}{joiner}" for number, joiner in pairs)


def _quantity(
    numbers: Sequence[str], between: Sequence[str], unit: str, named: Mapping[str, str], abbreviated: bool
) -> str:
    one, many, symbol = unit_names(unit) or ("", "", "")
    value = _range(numbers, between)
    if symbol in DEGREES or abbreviated:
        return f"{value}{'' if symbol.startswith('/') else ' '}{symbol}"
    if named.get("adj") in ("on", "mid"):
        return _american(f"{value}-{one.replace(' ', '-')}", named)
    single = len(numbers) == 1 and re.fullmatch(r"[-−]?1|\d+/{1,2}\d+", numbers[0])
    return _american(f"{value} {one if single else many}", named)


def _american(text: str, named: Mapping[str, str]) -> str:
    return re.sub(r"(met|lit)re", r"\1er", text) if named.get("sp") == "us" else text


def with_commas(number: str) -> str:
    """'12000.5' as '12,000.5'; fractions and powers of ten readable; anything else as it is."""
    number = re.sub(r"\+(\d+)/{1,2}(\d+)", r" \1/\2", number.strip()).replace("//", "/")
    if match := re.fullmatch(r"([-−–+]?[\d,.]+)\s*e([-+]?\d+)", number, re.IGNORECASE):
        digits = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
        return f"{with_commas(match.group(1))}×10{match.group(2).translate(digits)}"
    if not (match := re.fullmatch(r"([-−–+]?)(\d{4,})(\.\d+)?", number)):
        return number.replace("-", "−") if number[:1] == "-" else number
    return f"{match.group(1).replace('-', '−')}{int(match.group(2)):,}{match.group(3) or ''}"
