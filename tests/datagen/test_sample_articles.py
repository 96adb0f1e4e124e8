"""The bundled articles: enough of them, full of what questions are made of, and of one mind about the facts."""

import re
from collections import Counter

import pytest

from datagen import sample, sentences

MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATE = re.compile(rf"\b(?:\d{{1,2}} (?:{MONTHS})(?: 1\d{{3}})?|(?:{MONTHS}) 1\d{{3}})\b")
NUMBER = re.compile(
    r"\b(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|"
    r"hundreds?|thousands?|millions?|half|dozen)\b",
    re.IGNORECASE,
)
PERSON = re.compile(r"\b(?!The\b)[A-ZÀ-Þ][\w’'-]+ (?:[A-Z]\. )*(?:von |de |van )?[A-ZÀ-Þ][\w’'-]+")
PLACE = re.compile(r"\b(?:in|at|near|to|from|of|on|off|towards?|into|over|across) (?:the )?[A-ZÀ-Þ][\w’'-]+")
FORBIDDEN = re.compile(r"[^\x00-\x7fÀ-ɏ–—’‘“”°½]|\bTODO\b|[\[\]{}<>|]|  ")

SLUGS = sample.slugs()


def body(slug: str) -> str:
    return sample.read(slug).partition("\n")[2].strip()


def test_there_are_at_least_sixty_articles_with_titles_of_their_own():
    titles = Counter(sample.read(slug).partition("\n")[0] for slug in SLUGS)
    assert len(SLUGS) >= 60
    assert all(times == 1 for times in titles.values())


@pytest.mark.parametrize("slug", SLUGS)
def test_an_article_has_its_shape(slug):
    heading, _, rest = sample.read(slug).partition("\n")
    assert re.fullmatch(r"# \S.*\S", heading)
    assert slug == slug.lower()
    assert 300 <= len(rest.split()) <= 600
    assert len(rest.strip().split("\n\n")) >= 3
    assert not FORBIDDEN.search(rest)


@pytest.mark.parametrize("slug", SLUGS)
def test_an_article_has_dates_numbers_people_and_places(slug):
    text = body(slug)
    without_dates = DATE.sub("", text)
    assert len(set(DATE.findall(text))) >= 3
    assert len(NUMBER.findall(without_dates)) >= 3
    assert len(set(PERSON.findall(text))) >= 3
    assert len(set(PLACE.findall(text))) >= 3


@pytest.mark.parametrize("slug", SLUGS)
def test_every_paragraph_is_cut_into_whole_sentences(slug):
    for paragraph in body(slug).split("\n\n"):
        for sentence in sentences.split(paragraph):
            assert re.match(r"[\"“(]?[A-Z0-9À-Þ]", sentence), sentence
            assert re.search(r"[.!?][\"”)]?$", sentence), sentence
            assert len(sentence.split()) >= 3, sentence


def test_no_two_articles_share_a_sentence():
    where: dict[str, str] = {}
    for slug in SLUGS:
        for sentence in sentences.split(body(slug).replace("\n\n", " ")):
            assert where.setdefault(sentence, slug) == slug, f"{sentence!r} in {where[sentence]} and {slug}"


def test_there_are_facts_that_several_articles_share():
    assert len([fact for fact in sample.facts() if len(fact.articles) > 1]) >= 20


@pytest.mark.parametrize("fact", sample.facts(), ids=lambda fact: fact.statement[:60])
def test_every_article_named_by_a_fact_holds_its_value(fact):
    missing = [slug for slug in fact.articles if slug not in SLUGS]
    assert fact.articles
    assert not missing, "a fact names articles that are not there"
    for slug in fact.articles:
        assert fact.value in sample.read(slug), f"{slug} does not hold {fact.value!r}"


def test_one_statement_has_one_value():
    values: dict[str, str] = {}
    for fact in sample.facts():
        assert values.setdefault(fact.statement, fact.value) == fact.value, fact.statement
