"""Statements turned into questions: right word order, or no question at all."""

import pytest
from small_corpus import sample_articles, sentences_of

from datagen.english import BASE_OF, finite_verb, invert, past
from datagen.facts import facts_of
from datagen.features import extract
from datagen.names import Gazetteer
from datagen.shapes import shape_of

KNOWN = Gazetteer()


@pytest.mark.parametrize(
    ("sentence", "value", "direct", "embedded"),
    [
        (
            "The Battle of Kursk began on 5 July 1943.",
            "5 July 1943",
            "when did the Battle of Kursk begin",
            "when the Battle of Kursk began",
        ),
        ("On 5 July 1943, German troops attacked the salient.", "5 July 1943",
         "when did German troops attack the salient", "when German troops attacked the salient"),
        ("The city was taken on 2 May 1945.", "2 May 1945", "when was the city taken", "when the city was taken"),
        ("The war began on 1 September 1939 and ended on 2 September 1945.", "2 September 1945",
         "when did the war end", "when the war ended"),
        ("Adolf Hitler and Eva Braun married on 29 April 1945.", "29 April 1945",
         "when did Adolf Hitler and Eva Braun marry", "when Adolf Hitler and Eva Braun married"),
        ("General Erwin Rommel commanded the 7th Panzer Division.", "Erwin Rommel",
         "who commanded the 7th Panzer Division", "who commanded the 7th Panzer Division"),
        ("The fleet was commanded by Admiral Karl Dönitz.", "Karl Dönitz",
         "by whom was the fleet commanded", "by whom the fleet was commanded"),
        ("The three leaders met at Yalta in February 1945.", "Yalta",
         "where did the three leaders meet", "where the three leaders met"),
        ("About 156,000 troops landed on the first day.", "156,000",
         "how many troops landed on the first day", "how many troops landed on the first day"),
        ("The army lost 200 tanks in one day.", "200",
         "how many tanks did the army lose in one day", "how many tanks the army lost in one day"),
        ("Yamato was launched in Japan and entered service on 16 December 1941.", "16 December 1941",
         "when did Yamato enter service", "when Yamato entered service"),
        ("The palace had been built for the prince and contained 176 rooms.", "176",
         "how many rooms did the palace contain", "how many rooms the palace contained"),
        ("On 18 July 1944, Prime Minister Hideki Tojo resigned and the cabinet fell.", "18 July 1944",
         "when did Prime Minister Hideki Tojo resign", "when Prime Minister Hideki Tojo resigned"),
        ("Adolf Hitler delayed the attack for weeks so that new Panther and Tiger tanks could reach the front.",
         "Adolf Hitler", "who delayed the attack for weeks so that new Panther and Tiger tanks could reach the front",
         "who delayed the attack for weeks so that new Panther and Tiger tanks could reach the front"),
        ("Arthur Percival commanded the British, Indian and Malayan troops in Malaya.", "Arthur Percival",
         "who commanded the British, Indian and Malayan troops in Malaya",
         "who commanded the British, Indian and Malayan troops in Malaya"),
        ("Japan lost four aircraft carriers, one heavy cruiser and many pilots.", "four",
         "how many aircraft carriers did Japan lose", "how many aircraft carriers Japan lost"),
        ("The Allies also captured the island on 11 June 1943.", "11 June 1943",
         "when did the Allies capture the island", "when the Allies captured the island"),
        ("King Haakon and his government left Norway on 7 June 1940.", "7 June 1940",
         "when did King Haakon and his government leave Norway", "when King Haakon and his government left Norway"),
        ("Italy declared war on France on 10 June 1940.", "10 June 1940",
         "when did Italy declare war on France", "when Italy declared war on France"),
        ("The radio aired the Emperor's recorded speech on 15 August 1945.", "15 August 1945",
         "when was it that the radio aired the Emperor's recorded speech",
         "when the radio aired the Emperor's recorded speech"),
        ("The crew quaffed beer on 5 July 1943.", "5 July 1943",
         "when was it that the crew quaffed beer", "when the crew quaffed beer"),
    ],
)  # fmt: skip
def test_a_plain_statement_becomes_a_question(sentence: str, value: str, direct: str, embedded: str) -> None:
    features = extract(sentence, KNOWN)
    [feature] = [feature for feature in features if feature.text == value]
    assert shape_of(sentence, feature, features, KNOWN) == (direct, embedded)


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("The plan approved on 5 July 1943 called for an attack.", "5 July 1943"),
        ("German troops had held the city since the defeat of Poland in 1939.", "1939"),
        ("The Western leaders promised that the invasion would begin in May 1944.", "May 1944"),
        ("The battle was a series of assaults in Italy.", "Italy"),
        ("The ship supported the landings on Iwo Jima and Okinawa.", "Iwo Jima"),
        ("The division, which had left Paris, arrived on 9 May 1940.", "9 May 1940"),
        ("The British adopted a plan devised by General Erwin Rommel.", "Erwin Rommel"),
        ("The first paper submitted in 1900 to the journal was short.", "1900"),
        ("Since then 68 ordered in 1975 were sent home.", "1975"),
        ("Montgomery was knighted and promoted to general in November 1942.", "November 1942"),
        ("In 1951 the general took office as commander in Europe.", "Europe"),
        ("Japan also sent a plutonium bomb called Fat Man to Nagasaki on 9 August 1945.", "Nagasaki"),
        (
            "Aircraft dropped Little Boy on 6 August 1945 and a plutonium bomb called Fat Man on 9 August 1945.",
            "9 August 1945",
        ),
        ("Otto Frisch and Rudolf Peierls showed in Britain that a bomb was possible.", "Britain"),
        ("The Soviet Union had about 1.9 million soldiers in and behind the bulge.", "1.9 million"),
        ("The Soviet forces had about 6,250 tanks and guns.", "6,250"),
        ("Rear Admiral Clifton Sprague commanded this group.", "Clifton Sprague"),
        ("Colonel Paul W. Tibbets commanded the group.", "Paul W. Tibbets"),
        ("Admiral Marc A. Mitscher led its fast carriers.", "Marc A. Mitscher"),
        ("Joseph Stalin sent him to the Odessa Military District in 1946.", "1946"),
        ("American carrier aircraft sank her sister ship on 24 October 1944.", "24 October 1944"),
        ("Australian troops under his command fought their way north in 1943.", "1943"),
        ("A Japanese submarine sank USS Indianapolis four days later, on 30 July 1945.", "30 July 1945"),
        ("Rudolf Hess was the last prisoner at Spandau and died there on 17 August 1987.", "17 August 1987"),
        ("The raid was an American air attack on the Japanese home islands on 18 April 1942.", "18 April 1942"),
        ("British ships had begun to lay mines in Norwegian waters on 8 April 1940.", "8 April 1940"),
        ("Georgy Zhukov was named Hero of the Soviet Union in 1939, 1944 and 1945.", "1939"),
        ("MacArthur fought in France in 1918.", "France"),
        ("The House of Commons debated the failure in Norway.", "Norway"),
        ("Groves chose the physicist to direct the secret laboratory at Los Alamos.", "Los Alamos"),
        ("The fleet spent long periods at anchor near Truk in Sicily.", "Sicily"),
        ("Bernard Montgomery led the 3rd Division in France and Belgium at the start of the war.", "France"),
        ("The victory in Tunisia opened the way for the landing in Sicily on 10 July 1943.", "10 July 1943"),
        ("The Allied victory prepared the landing on the mainland on 3 September 1943.", "3 September 1943"),
        ("Herbert Morrison gave his name to a shelter introduced in March 1941.", "March 1941"),
        ("German bombers attacked Rotterdam and killed more than 800 people.", "800"),
        (
            "Algiers surrendered on the evening of 8 November 1942, and Oran followed on 10 November 1942.",
            "10 November 1942",
        ),
        ("American military courts held twelve trials between 1946 and 1949.", "twelve"),
        ("The governor tried to rally a force but was beaten in December 1775.", "December 1775"),
    ],
)
def test_a_statement_whose_grammar_is_not_sure_stays_a_statement(sentence: str, value: str) -> None:
    features = extract(sentence, KNOWN)
    [feature] = [feature for feature in features if feature.text == value]
    assert shape_of(sentence, feature, features, KNOWN) is None


@pytest.mark.parametrize(
    ("clause", "inverted"),
    [
        ("the siege lasted 900 days", "did the siege last 900 days"),
        ("the army had 200 tanks", "did the army have 200 tanks"),
        ("the army had lost 200 tanks", "had the army lost 200 tanks"),
        ("Rome is the capital", "is Rome the capital"),
        ("the ship carried troops", "did the ship carry troops"),
        ("the raid stopped work", "did the raid stop work"),
        ("the hall called the Dome became a museum", None),
        ("the ship that sank was new", None),
        ("the ancient town", None),
    ],
)
def test_a_clause_is_inverted_only_where_its_verb_is_sure(clause: str, inverted: str | None) -> None:
    assert invert(clause) == inverted


@pytest.mark.parametrize(("base", "form"), [("land", "landed"), ("move", "moved"), ("carry", "carried"),
                                            ("stop", "stopped"), ("play", "played")])  # fmt: skip
def test_regular_past_tenses(base: str, form: str) -> None:
    assert past(base) == form
    assert BASE_OF[form] == base


def test_every_direct_question_of_the_sample_has_its_verb_once() -> None:
    """An inverted question never keeps a past tense behind 'did', and always ends on a whole word."""
    num = 0
    for title, text in sample_articles(66):
        for sentence in sentences_of(text):
            for fact in facts_of(title, sentence, KNOWN)[0]:
                if fact.shape is None:
                    continue
                num += 1
                assert fact.value not in fact.shape.direct
                assert fact.shape.direct[-1].isalnum() or fact.shape.direct[-1] in "\".')", fact.shape.direct
                if " did " in f" {fact.shape.direct} ":
                    clause = fact.shape.embedded.split(" ", 1)[1]
                    verb = finite_verb(clause)
                    assert fact.kind == "number" or (verb and verb.word in {*BASE_OF, "had", "did"})
    assert num > 500
