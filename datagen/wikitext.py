"""Wikitext in, paragraphs of plain prose out. The templates that carry facts are in templates.py.

What is not prose goes: references, tables, galleries, infoboxes, list fragments, headings, files, sections such as
References. What is prose but can't be rendered leaves HOLE in its place, so that the sentence around it can be
dropped instead of teaching a hole ("it cost $5 ($ in dollars)").
"""

import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from datagen.template_names import names
from datagen.templates import ASIDE, HOLE, render_template

DROPPED_SECTIONS = names(
    "references|notes|footnotes|citations|sources|bibliography|further reading|external links|see also|gallery|"
    "works cited|literature|notes and references|references and notes|general references|explanatory notes|"
    "cited sources|primary sources|secondary sources|publications|selected bibliography|filmography|discography|"
    "image gallery|general sources|cited works|selected works|references and further reading"
)
DROPPED_TAGS = names(
    "ref|references|table|gallery|timeline|imagemap|score|syntaxhighlight|source|pre|templatedata|hiero|mapframe|"
    "maplink|graph|inputbox|categorytree|indicator|style|script|del|s|strike|section"
)
HOLE_TAGS = names("math|ce|chem")
BLOCK_TAGS = names("p|div|blockquote|center|poem")
DROPPED_LINKS = re.compile(r"(?:file|image|media|category|[a-z]{2,3}|simple|[a-z]{2,3}-[a-z-]{2,}):", re.IGNORECASE)
TO_SUPERSCRIPT = str.maketrans("0123456789+-−–n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻ⁿ")
MAGIC_WORD = re.compile(r"__[A-Z]+__")
QUOTES = re.compile(r"'{2,5}")
SPACES = re.compile(r"[ \t\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
INVISIBLE = re.compile(r"[\u200b-\u200f\u2060\ufeff\u00ad\u202a-\u202e]")
LIST_MARKS = re.compile(r"^[*#:;]+\s*")
SENTENCE_ENDS = re.compile(r"[.!?。！？][\"'”’)]*$")
PROSE_WORDS = 6  # of a list's line; shorter ones are entries
BRACKETS = re.compile(r"\s?\([^()]*\)")
EMPTY_BRACKETS = re.compile(r"\s?(?:\(\s*[,;:–—-]*\s*\)|\[\s*\])")
STRAY_IN_BRACKETS = re.compile(r"(?<=\()[\s,;:]+|[\s,;:]+(?=\))")
# "Actinium /▮/ is a metal" reads well without its sound, "pronounced /▮/" does not.
LOOSE_ASIDE = re.compile(rf"(?!(?:pronounced|as|is|or)\s)(?<!\S)(\S+)\s?{ASIDE}(?=,|;|\s(?:is|was|are|were|or)\b)")
BEFORE_STOP = re.compile(r" +(?=[,.;:!?)](?:\s|$))")

STARTS_INSIDE = re.compile(r"[(\"'“‘\[]*[a-z][a-z,]*\s")  # the rest of a formula's or a list's sentence
HOLES = re.compile(
    HOLE + r"|\(\s|\s\)|\(\)|\[\]|(?<!\.)[,;:]\s?[,;.](?!\.)|\s[,;](?:\s|$)|[$£€¥](?=\s|[.,;)]|$)"
    r"|\{\{|\}\}|\[\[|\]\]|\|\||<[a-z/]|https?://|\bISBN\b|\bdoi:|&[a-z]+;|\bthumb\|"
    r"|\b(?:the|an|between|than)\s?[,.;](?:\s|$)"
)


@dataclass
class Rendered:
    """What came of one page."""

    paragraphs: list[str]
    unknown: Counter[str] = field(default_factory=Counter)  # templates that left a hole, by name


def render(wikitext: str) -> Rendered:
    """A page's paragraphs, in order, without markup.

    A sentence for which `has_hole` is true lost something; the caller decides (corpus drops and counts it).
    Raises RecursionError or mwparserfromhell's ParserError for a page that can't be parsed at all.
    """
    import mwparserfromhell

    renderer = _Renderer()
    raw = renderer.nodes(mwparserfromhell.parse(wikitext, skip_style_tags=True).nodes)
    paragraphs = [text for part in _paragraphs(raw) if (text := clean(part))]
    return Rendered(paragraphs, renderer.unknown)


def has_hole(sentence: str) -> bool:
    """Whether a sentence shows that something was taken out of it, or is the rest of a list, table or formula."""
    is_whole = SENTENCE_ENDS.search(sentence) is not None and STARTS_INSIDE.match(sentence) is None
    return not is_whole or HOLES.search(sentence) is not None


def is_in_category(wikitext: str, category: str) -> bool:
    """Whether a page links the category itself (not one of its parents)."""
    name = category.removeprefix("Category:").replace("_", " ").strip()
    first, rest = name[:1], re.escape(name[1:]).replace(r"\ ", "[ _]+")
    pattern = rf"\[\[\s*category\s*:\s*[{re.escape(first.lower() + first.upper())}]{rest}\s*(?:\||\]\])"
    return re.search(pattern, wikitext, re.IGNORECASE) is not None if name else False


class _Renderer:
    """Walks the parsed tree once, keeping which sections are dropped and which templates were unknown."""

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self._dropped_level: int | None = None

    def nodes(self, nodes: Iterable[Any]) -> str:
        return "".join(text for node in nodes if (text := self._node(node)))

    def text(self, code: Any) -> str:
        """A template's parameter or a tag's contents as plain text."""
        return "" if code is None else self.nodes(code.nodes)

    def _node(self, node: Any) -> str:
        kind = type(node).__name__
        if kind == "Heading":
            return self._heading(node)
        if self._dropped_level is not None:
            return ""
        handler = getattr(self, f"_{kind.lower()}", None)
        return handler(node) if handler else ""  # Comment: nothing

    def _heading(self, node: Any) -> str:
        if self._dropped_level is None or node.level <= self._dropped_level:
            title = QUOTES.sub("", str(node.title)).strip().lower()
            self._dropped_level = node.level if title in DROPPED_SECTIONS else None
        return "\n\n"

    def _text(self, node: Any) -> str:
        return str(node.value)

    def _htmlentity(self, node: Any) -> str:
        return html.unescape(str(node))

    def _argument(self, node: Any) -> str:
        return HOLE

    def _externallink(self, node: Any) -> str:
        return self.text(node.title) if node.brackets else HOLE

    def _wikilink(self, node: Any) -> str:
        target = str(node.title).strip()
        if DROPPED_LINKS.match(target):
            return ""
        shown = self.text(node.text) if node.text is not None else target.removeprefix(":").partition("#")[0] or target
        return shown.strip() and shown

    def _template(self, node: Any) -> str:
        name = " ".join(str(node.name).replace("_", " ").split()).lower()
        positional: list[str] = []
        named: dict[str, str] = {}
        for parameter in node.params:
            key, value = str(parameter.name).strip(), self.text(parameter.value)
            if parameter.showkey:
                named[key.lower()] = value.strip()
            else:
                positional.append(value.strip())
        while str(len(positional) + 1) in named:  # {{lang|1=de|2=Panzer}}
            positional.append(named.pop(str(len(positional) + 1)))
        shown = render_template(name, positional, named)
        if shown is not None:
            return shown
        if "\n" in str(node):
            return ""  # a box, not a word in a sentence
        self.unknown[name] += 1
        return HOLE

    def _tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        if node.wiki_markup and name in ("li", "dd", "dt"):
            return str(node.wiki_markup)
        if name == "table" or name in DROPPED_TAGS:
            return ""
        if name in HOLE_TAGS:
            return HOLE
        if name in ("br", "hr"):
            return " " if name == "br" else "\n\n"
        inside = self.text(node.contents)
        if name == "sup":
            return superscript(inside)
        return f"\n\n{inside}\n\n" if name in BLOCK_TAGS else f"\n* {inside}\n" if name == "li" else inside


def superscript(text: str) -> str:
    """'2' as '²': 10 to the 5th must not become 105. Words ('th') stay as they are."""
    text = text.strip()
    return text.translate(TO_SUPERSCRIPT) if re.fullmatch(r"[0-9+\-−–n]+", text) else text


def _paragraphs(raw: str) -> list[str]:
    """Lines to paragraphs, as MediaWiki joins them. A list's line is prose only when it is a sentence."""
    done: list[list[str]] = [[]]
    for line in MAGIC_WORD.sub("", raw).split("\n"):
        stripped = line.strip()
        if not stripped.strip(HOLE + " ") or stripped.startswith(("{|", "|", "!")):
            done.append([])
        elif marks := LIST_MARKS.match(stripped):
            item = stripped[marks.end() :]
            is_prose = SENTENCE_ENDS.search(item) and len(item.split()) >= PROSE_WORDS
            done.extend([[item] if is_prose else [], []])
        else:
            done[-1].append(stripped)
    return [" ".join(lines) for lines in done if lines]


def clean(text: str) -> str:
    """One paragraph without quote marks of markup, strange spaces, and the brackets that rendering emptied."""
    text = SPACES.sub(" ", INVISIBLE.sub("", QUOTES.sub("", text)))
    if HOLE in text or ASIDE in text:
        text = BRACKETS.sub(_mend_brackets, text)
        text = LOOSE_ASIDE.sub(r"\1", text).replace(ASIDE, HOLE)
    text = EMPTY_BRACKETS.sub("", STRAY_IN_BRACKETS.sub("", text))
    return BEFORE_STOP.sub("", SPACES.sub(" ", text)).strip()


def _mend_brackets(match: re.Match[str]) -> str:
    """An aside that lost a part keeps its whole parts: '(▮; born 14 March 1879)' is '(born 14 March 1879)'."""
    brackets = match.group()
    if HOLE not in brackets and ASIDE not in brackets:
        return brackets
    parts = re.split(r"[;,]\s", brackets.strip()[1:-1])
    whole = [part for part in parts if HOLE not in part and ASIDE not in part and part.strip()]
    if not whole or re.match(r"(?:or|and|but|in|of)\b", whole[0].strip()):
        return ""
    lead = " " if brackets[0].isspace() else ""
    return f"{lead}({'; '.join(whole) if ';' in brackets else ', '.join(whole)})"
