"""What is found in a sentence, and what is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_corpus import sample_articles, sentences_of

from datagen.facts import facts_of
from datagen.features import extract
from datagen.names import Gazetteer, census

KNOWN = Gazetteer()
SENTENCES = [sentence for _, text in sample_articles(66) for sentence in sentences_of(text)]
CORPUS = census(SENTENCES)


@pytest.mark.parametrize(
    ("sentence", "values"),
    [
        ("The Battle of Kursk began on 5 July 1943.", ["date: 5 July 1943"]),
        ("On July 5, 1943, the army attacked.", ["date: July 5, 1943"]),
        ("The fleet left in March 1942 and returned on 6 June.", ["date: March 1942", "date: 6 June"]),
        ("The battle was fought on 4-7 June 1942.", ["date: 4-7 June 1942"]),
        ("He retired in 1951 and wrote until 1960.", ["date: 1951", "date: 1960"]),
        ("Directive 1943 was number 1944 of its kind.", []),
        ("May I say that March was cold.", []),
        ("About 156,000 troops landed.", ["number: 156,000 troops"]),
        ("The army lost 2.5 million men.", ["number: 2.5 million men"]),
        ("The ship carried 353 combat aircraft.", ["number: 353 combat aircraft"]),
        ("Ozawa brought four aircraft carriers.", ["number: four aircraft carriers"]),
        ("The 7th Panzer Division had 218 tanks.", ["number: 218 tanks"]),
        ("The T-34 and the B-17 fought in Number 617 Squadron.", []),
        ("They fired at 04:45 hours.", []),
        ("It cost $5 million dollars.", []),
        ("General Erwin Rommel commanded it.", ["person: Erwin Rommel"]),
        ("The plan of Field Marshal Erich von Manstein failed.", ["person: Erich von Manstein"]),
        ("Prime Minister Winston Churchill's speech was heard.", ["person: Winston Churchill"]),
        ("General Slim crossed the river.", ["person: Slim"]),
        ("It hung beside Pablo Picasso's Woman in Blue.", ["person: Pablo Picasso"]),
        ("Lord North's Tory government fell.", ["person: North"]),
        ("They met at the Francis Scott Centre and the Victor Symphony Orchestra played.", []),
        ("He spoke to the General Council and to Chief of General Staff.", []),
        ("The Mark IV was heavy.", []),
        ("King George VI saw Saint Paul's Cathedral.", ["person: George VI"]),
        ("He was born in Saint Petersburg.", ["place: Saint Petersburg"]),
        ("The fleet entered the Gulf of St. Lawrence.", []),
        ("The physicist J. Robert Oppenheimer was chosen.", []),
        ("The battleship Jean Bart fired.", []),
        ("The destroyer escort Samuel B. Roberts was sunk.", []),
        ("The Red Army and Army Group Centre fought.", []),
        ("They met at Yalta in February.", ["place: Yalta"]),
        ("The ship sank near Savo Island.", ["place: Savo Island"]),
        ("He was held in German hands.", []),
        ("It happened in the Warsaw Uprising.", []),
        ("They fought in the Normandy landings.", []),
    ],
)
def test_features_are_found_or_left_alone(sentence: str, values: list[str]) -> None:
    found = [f"{feature.kind}: {feature.text} {feature.unit}".strip() for feature in extract(sentence, KNOWN)]
    assert found == values


@pytest.mark.parametrize("sentence", SENTENCES[::7])
def test_features_of_real_sentences_stand_where_they_say_and_never_overlap(sentence: str) -> None:
    features = extract(sentence, CORPUS)
    end = 0
    for feature in features:
        assert sentence[feature.start : feature.end] == feature.text
        assert feature.start >= end
        end = feature.end


@given(st.text(max_size=200))
def test_no_text_breaks_the_extraction(text: str) -> None:
    for feature in extract(text, KNOWN):
        assert text[feature.start : feature.end] == feature.text
    facts_of("A title", text or "x", KNOWN)


def test_the_corpus_itself_shows_its_places() -> None:
    gazetteer = census(
        ["The front ran near Vyazma.", "Troops waited at Vyazma.", "An army stood in Oblivion Service near Rex Rommel."]
    )
    assert gazetteer.is_place("Vyazma")
    assert not gazetteer.is_place("Oblivion")


def test_a_word_seen_in_lower_case_is_no_name_at_the_start_of_a_clause() -> None:
    gazetteer = census(["The trucks drove on.", "Near Kiev the trucks stopped."])
    assert gazetteer.lower_first("Trucks drove on") == "trucks drove on"
    assert gazetteer.lower_first("Kiev fell") == "Kiev fell"


def test_the_census_forgets_the_rarest_words_so_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datagen.names.MAX_COUNTED", 20)
    gazetteer = census(["the front " * 3] * 9 + [f"a word{number} came" for number in range(200)])
    assert "front" in gazetteer.common
    assert len(gazetteer.common) < 150


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("He was born in Ulm on 14 March 1879.", "begins with 'He'"),
        ("In July 1912, he returned to Zurich.", "its subject is 'he'"),
        ("In July 1912 he returned to Zurich.", "its subject is 'he'"),
        ("During the late 1970s her work in Paris declined.", "its subject is 'her'"),
        ("The cost was $5 ( in 1944 dollars).", "hole"),
        ("Born in Paris.", "3 words"),
        ("The army, the navy and the air force of Japan in 1941.", "no verb"),
        ('The "plan was made on 5 July 1943.', "open quote"),
        ("and the army marched to Warsaw in 1944.", "not a whole sentence"),
    ],
)
def test_a_sentence_that_can_not_be_asked_about_is_refused_with_the_reason(sentence: str, reason: str) -> None:
    facts, [refusal] = facts_of("Some Title", sentence, KNOWN)
    assert not facts
    assert reason in refusal.reason


def test_a_value_that_the_title_names_or_that_stands_twice_is_not_asked_for() -> None:
    facts, refusals = facts_of("Siege of Tobruk", "The siege of Tobruk began on 10 April 1941 in Libya.", KNOWN)
    assert [fact.value for fact in facts] == ["10 April 1941", "Libya"]
    assert [refusal.reason for refusal in refusals] == ["the title gives it away"]
    _, [refusal] = facts_of("Chester W. Nimitz", "Chester William Nimitz commanded the whole fleet.", KNOWN)
    assert refusal.reason == "the title gives it away"
    _, refusals = facts_of("War", "The army left Paris in 1940 and came back to Paris in 1944.", KNOWN)
    assert {refusal.reason for refusal in refusals} == {"stands twice in its sentence"}


def test_a_rank_before_a_word_of_the_language_makes_no_name_of_it() -> None:
    sentence = "He was seen with General Graphite."
    assert [feature.text for feature in extract(sentence, KNOWN)] == ["Graphite"]
    assert extract(sentence, census(["The graphite was sold, and more graphite was bought."])) == []


@pytest.mark.parametrize(
    ("sentence", "value", "asked"),
    [
        (
            "In March 1943 the Ninth Army left the town of Rzhev, which it had held for more than a year.",
            "March 1943",
            "In ____ the Ninth Army left the town of Rzhev.",
        ),
        (
            "General Walter Model left the town on March 1, 1943, after his rearguard had blown up the bridge.",
            "Walter Model",
            "General ____ left the town on March 1, 1943.",
        ),
        (
            "On 1 March 1943, after the last train had gone, the army blew up the bridge over the Volga at Rzhev.",
            "1 March 1943",
            "all",
        ),
        (
            "The plan of General Walter Model was that, although the town was lost, the army would hold the new line.",
            "Walter Model",
            "all",
        ),
        (
            "The report of 1943 found that the army, with 324,000 men in the line, was too weak for any attack.",
            "324,000",
            "all",
        ),
        (
            "The army left in March 1943 and, at the request of General Walter Model, burned the town behind it.",
            "March 1943",
            "all",
        ),
        (
            "The front was cut by 330 kilometres, which freed men, guns and horses that were needed for the attack.",
            "330",
            "The front was cut by ____ kilometres.",
        ),
        (
            "General Walter Model asked for more tanks, guns and horses, and the men waited for them in vain.",
            "Walter Model",
            "all",
        ),
        (
            "While General Walter Model was at the front, the staff planned the long way back to the Dnieper.",
            "Walter Model",
            "all",
        ),
        (
            "The town was hit on 1 March 1943, and when German troops left Rzhev, they burned the bridge behind them.",
            "Rzhev",
            "all",
        ),
    ],
)
def test_a_long_sentence_is_cut_at_a_comma_only_where_a_whole_sentence_is_left(
    sentence: str, value: str, asked: str
) -> None:
    facts, _ = facts_of("War", sentence, census([sentence, "They fought near Rzhev.", "He was seen near Rzhev."]))
    [fact] = [fact for fact in facts if fact.value == value]
    assert fact.statement() == (sentence.replace(value, "____") if asked == "all" else asked)


def test_a_pronoun_whose_owner_stands_before_it_is_no_hindrance() -> None:
    facts, _ = facts_of("War", "In 1943 General Walter Model and his staff left Kursk.", KNOWN)
    assert [fact.value for fact in facts] == ["Walter Model", "Kursk"]
