"""What a page's markup becomes: a table of what stands on the page and what is read, template by template."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen import wikitext
from datagen.templates import HOLE
from datagen.units import UNITS, convert

READS = [
    # quantities
    ("It is {{convert|5|km|mi}} long.", "It is 5 kilometres long."),
    ("It is {{convert|1|km|mi}} long.", "It is 1 kilometre long."),
    ("It is {{Convert|5|km|mi|abbr=on}} long.", "It is 5 km long."),
    ("It is {{cvt|12000|ft|m}} high.", "It is 12,000 feet high."),
    ("A {{convert|12|in|mm|adj=on}} gun.", "A 12-inch gun."),
    ("A {{convert|5|km|mi|adj=on|sp=us}} march.", "A 5-kilometer march."),
    ("It is {{convert|5|to|10|km|mi}} wide.", "It is 5 to 10 kilometres wide."),
    ("It is {{convert|5|-|10|km|mi|abbr=on}} wide.", "It is 5–10 km wide."),
    ("A box of {{convert|3|by|4|m|ft}}.", "A box of 3 by 4 metres."),
    ("A box of {{convert|3|x|4|x|5|m|ft}}.", "A box of 3 × 4 × 5 metres."),
    ("He was {{convert|6|ft|2|in|cm}} tall.", "He was 6 feet 2 inches tall."),
    ("It held {{convert|640081.87|km2|sqmi|abbr=on}}.", "It held 640,081.87 km²."),
    ("At {{convert|-27|C|F}} it froze.", "At −27 °C it froze."),
    ("It made {{convert|30|kn|km/h}}.", "It made 30 knots."),
    ("It was {{convert|2+1/2|mi|km}} off.", "It was 2 1/2 miles off."),
    ("It gave {{convert|1.4|Moilbbl/d|m3/d}}.", "It gave 1.4 million barrels per day."),
    ("It was {{convert|1|1/2|mi|km}} off.", None),
    ("It was {{convert|7|smoots|m}} off.", None),
    ("It was {{convert|many|km|mi}} off.", None),
    ("About {{val|1.5|0.2|e=6|u=km}} off.", "About 1.5±0.2×10⁶ km off."),
    ("About {{val|12345|u=kg}} of it.", "About 12,345 kg of it."),
    ("Exactly {{frac|3|4}} of it.", "Exactly 3/4 of it."),
    ("Exactly {{frac|2}} or {{frac|5|3|4}}.", "Exactly 1/2 or 5 3/4."),
    ("It had {{formatnum:1234567}} men.", "It had 1,234,567 men."),
    ("It cost {{US$|1500}}.", "It cost US$1,500."),
    ("It cost $5 million (${{inflation|US|5|1940}} million in {{CURRENTYEAR}}).", "It cost $5 million."),
    ("It cost $5 (${{Inflation|US|5|1940}} in {{CURRENTYEAR}} dollars{{inflation-fn|US}}) then.", "It cost $5 then."),
    ("It would cost {{inflation|US|5|1940}} today.", None),
    # dates
    ("Built {{circa|1190}} by monks.", "Built c. 1190 by monks."),
    ("Built {{c.|1190|1200}} by monks.", "Built c. 1190 – c. 1200 by monks."),
    ("{{As of|2010|5|3}} it stood.", "As of 3 May 2010 it stood."),
    ("It stood {{as of|2010|lc=y}}.", "It stood as of 2010."),
    ("It began on {{start date|1939|9|1|df=y}}.", "It began on 1 September 1939."),
    ("Born {{birth date|1889|4|20}} there.", "Born April 20, 1889 there."),
    ("Died {{death date and age|1945|4|30|1889|4|20|df=y}}.", "Died 30 April 1945 (aged 56)."),
    ("It began in {{start date|1939|9}}.", "It began in September 1939."),
    ("It began on {{start date|1939|13|1}}.", None),
    # words and names
    ("The {{lang|de|Panzer}} came.", "The Panzer came."),
    ("The {{lang|1=de|2=Panzer}} came.", "The Panzer came."),
    ("The city ({{lang-ru|Москва|Moskva}}) fell.", "The city (Russian: Москва, Moskva) fell."),
    ("The city ({{langx|fr|Caen}}) fell.", "The city (French: Caen) fell."),
    ("The {{transl|ja|ISO|sensō}} began.", "The sensō began."),
    ("{{nihongo|Yamato|大和}} sailed.", "Yamato (大和) sailed."),
    ("{{nihongo|'''Aikido'''|合気道|Aikidō|lead=yes}} is old.", "Aikido (合気道, Aikidō) is old."),
    ("The {{nowrap|T-34}} and {{abbr|HQ|headquarters}}.", "The T-34 and HQ."),
    ("The {{USS|Enterprise|CV-6}} and {{HMS|Hood|51|6}}.", "The USS Enterprise (CV-6) and HMS Hood."),
    ("The {{ship|German battleship|Bismarck||2}} and {{USS|Wasp|CV-7|2}}.", "The Bismarck and Wasp."),
    ("An {{sclass|Iowa|battleship}} sank.", "An Iowa-class battleship sank."),
    ("He was in {{flag|Poland}} then {{flagicon|France}}.", "He was in Poland then."),
    ("Anna ({{née|Kern}}) spoke.", "Anna (née Kern) spoke."),
    ("By {{ill|Hans Kern|de|lt=Kern}} himself.", "By Kern himself."),
    ("The 5{{nbsp}}km{{ndash}}6{{spaces|1}}km{{mdash}}and on.", "The 5 km–6 km—and on."),
    ("A{{snd}}B was so.", "A – B was so."),
    ("The {{ordinal|22}} and {{ordinal|11}}.", "The 22nd and 11th."),
    ("They {{sic|maked}} it.", "They maked [sic] it."),
    ("{{quote|We shall fight on the beaches.|Churchill}}", "We shall fight on the beaches."),
    # citations and notes say nothing
    ("It fell.{{sfn|Beevor|1998|p=5}}{{efn|A note.}}{{cite book|title=X}}", "It fell."),
    (
        "It fell{{citation needed|date=May 2010}} early.<ref name=a>{{cite web|url=x}}</ref><ref name=b/>",
        "It fell early.",
    ),
    ("{{main|Other}}\nIt fell.", "It fell."),
    ("{{Infobox battle\n| name = X\n| date = {{start date|1944}}\n}}\n'''It''' fell.", "It fell."),
    ("{{coord|1|2|display=title}}It fell.", "It fell."),
    ("It lay ({{coord|1|2}}) east.", "It lay east."),
    # unknown templates leave a hole, unless they are boxes
    ("It was {{some new thing|5}} long.", None),
    ("{{Some new box\n|a=b\n}}\nIt fell.", "It fell."),
    # pronunciations
    ("'''Caen''' ({{IPAc-en|k|ɑː}}; {{IPA-fr|kɑ̃}}) fell.", "Caen fell."),
    ("'''Caen''' ({{IPAc-en|k}}; born 1 May 1900) fell.", "Caen (born 1 May 1900) fell."),
    ("'''Caen''' {{IPAc-en|k|ɑː}}, or so, fell.", "Caen, or so, fell."),
    ("It is pronounced {{IPAc-en|k|ɑː}}, or so.", None),
    # links
    ("The [[Battle of France|battle]] of [[Caen]].", "The battle of Caen."),
    ("[[File:X.jpg|thumb|A [[caption]] here.]]It fell.[[Category:Battles]][[de:X]]", "It fell."),
    ("See [[:Category:Battles]] and [http://x.org its site].", "See Category:Battles and its site."),
    ("It is at http://example.org now.", None),
    # tags
    ("So 10<sup>5</sup> of H<sub>2</sub>O, 5<sup>th</sup>.", "So 10⁵ of H2O, 5th."),
    ("So <math>x^2</math> is it.", None),
    ("One<br />two <!-- no -->three &amp; four&nbsp;five.", "One two three & four five."),
    ("A {{small|little}} <small>thing</small>, ''so'' '''it''' is.", "A little thing, so it is."),
    ("<gallery>\nFile:x.jpg|y\n</gallery>\nIt fell.", "It fell."),
    ("{|\n! a\n|-\n| b\n|}\nIt fell.", "It fell."),
    ("__NOTOC__\nIt fell.", "It fell."),
]


@pytest.mark.parametrize(("markup", "reads"), READS, ids=[markup[:50] for markup, _ in READS])
def test_markup_reads_as_the_page_does_or_leaves_a_hole(markup, reads):
    paragraphs = wikitext.render(markup).paragraphs
    if reads is None:
        assert any(wikitext.has_hole(paragraph) for paragraph in paragraphs)
    else:
        assert paragraphs == [reads]
        assert not wikitext.has_hole(reads)


PAGE = """
{{Infobox military conflict
| conflict = Battle of Nowhere
}}
'''The Battle of Nowhere''' began
on 3 May.

It ended.
== Forces ==
The forces were:
* 3 tanks
* {{flagicon|France}} 2 guns
* There was also one whole division of infantry.
=== Later ===
They left.
== References ==
{{reflist}}
=== Notes ===
A note in a subsection.
== Aftermath ==
The town was rebuilt.
== See also ==
* [[Other battle]] was a battle.
== External links ==
It links.
"""


def test_paragraphs_stay_headings_and_reference_sections_and_list_fragments_go():
    assert wikitext.render(PAGE).paragraphs == [
        "The Battle of Nowhere began on 3 May.",
        "It ended.",
        "The forces were:",
        "There was also one whole division of infantry.",
        "They left.",
        "The town was rebuilt.",
    ]
    assert wikitext.has_hole("The forces were:")  # its list is gone


def test_unknown_templates_are_named_for_the_one_who_adds_them():
    rendered = wikitext.render("A {{new thing|1}} and {{New_thing}} and {{other}}.\n{{A box\n|x=1}}")
    assert rendered.unknown == {"new thing": 2, "other": 1}


@pytest.mark.parametrize(
    "sentence",
    [
        f"It was {HOLE} long.",
        "It was ( long.",
        "It was () long.",
        "It cost $5 ($ in dollars).",
        "It was red, , and blue.",
        "It was red , so.",
        "The forces were:",
        "No stop at the end",
        "where the last term is small.",
        "It was [[left]] over.",
        "It lay between. So.",
    ],
)
def test_a_sentence_with_a_hole_is_seen(sentence):
    assert wikitext.has_hole(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "It cost $5 million.",
        'He said, "Nuts!"',
        "It was (as said) red, white, and blue.",
        "Including, but not limited to, ships.",
        "What happened... nobody knows.",
        '"We go."',
        "It ended at 5 p.m.",
    ],
)
def test_a_whole_sentence_is_left_alone(sentence):
    assert not wikitext.has_hole(sentence)


@pytest.mark.parametrize(
    ("category", "is_in"),
    [
        ("Battles of World War II", True),
        ("battles of World War II", True),
        ("Category:Battles_of_World_War_II", True),
        ("Battles of World War", False),
        ("Tanks (1940)", True),
        ("Tanks .1940.", False),
        ("", False),
    ],
)
def test_a_category_is_the_one_the_page_links(category, is_in):
    page = "Text. [[Category:Battles of World War II|Caen]] [[category: Tanks (1940) ]]"
    assert wikitext.is_in_category(page, category) is is_in


@given(st.sampled_from(sorted(UNITS)), st.integers(2, 10**7), st.sampled_from(["on", "off"]))
def test_every_unit_keeps_its_number(unit, number, abbr):
    assert (convert([str(number), unit], {"abbr": abbr}) or "").startswith(f"{number:,}")


MARKUP = st.lists(
    st.sampled_from(
        [
            "{{",
            "}}",
            "[[",
            "]]",
            "|",
            "=",
            "''",
            "<ref>",
            "</ref>",
            "{|",
            "|}",
            "\n",
            "* ",
            "== A ==",
            "convert",
            "5",
            "km",
        ]
    )
    | st.text(max_size=5),
    max_size=30,
).map("".join)


@given(MARKUP)
@settings(max_examples=300, deadline=None)
def test_no_markup_however_broken_stops_the_reading(markup):
    for paragraph in wikitext.render(markup).paragraphs:
        assert paragraph == paragraph.strip() != ""
        assert "\n" not in paragraph
