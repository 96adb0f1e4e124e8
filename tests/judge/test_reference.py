"""What the reference judge passes and fails, row by row, and the laws of its rulings."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.records import FAMILIES
from judge.reference import ReferenceJudge
from tests.judge.ask import SOURCE, ask, some_questions

CHOICES = ("A. Omar Bradley", "C. George Patton", "D. Mark Clark")
COMMANDER = ask("Who? A. Omar Bradley; B. Dwight D. Eisenhower; C.", "B. Dwight D. Eisenhower", *CHOICES)
KURSK = ask("When did the Battle of Kursk begin?", "5 July 1943", source=SOURCE)


def rule(answer: str, question: str, reference: str, *wrong: str, family: str = "who_when_where"):
    asked = ask(question, reference, *wrong, family=family)
    return ReferenceJudge.of([asked]).rule(asked, answer)


WHO = "Who commanded the fleet?"
PASSES = (
    ("Admiral Nimitz", WHO, "Chester W. Nimitz"),
    ("chester w nimitz", WHO, "Chester W. Nimitz"),
    ("CHESTER NIMITZ", WHO, "Chester W. Nimitz"),
    ("The fleet was commanded by Chester Nimitz.", WHO, "Chester W. Nimitz"),
    ("the USSR", "Which country?", "Soviet Union"),
    ("the 6th Army", "Which army surrendered?", "German Sixth Army"),
    ("156,000 in 1944", "How many men landed?", "156,000"),
    ("156 thousand", "How many men landed?", "about 156,000 troops"),
    ("1,500,000", "How many?", "1.5 million"),
    ("1500", "How many?", "1,500"),
    ("Three carriers", "How many carriers?", "3"),
    ("one", "How many?", "1"),
    ("6 June", "When in 1944 did it begin?", "6 June 1944"),
    ("from May 26 to June 4, 1940", "When?", "26 May to 4 June 1940"),
    ("Tuesday, 6 June 1944", "When?", "6 June 1944"),
    ("on the 6th of June, in 1944", "When?", "6 June 1944"),
    ("not 5 but 6 June 1944", "When?", "6 June 1944"),
    ("t-34", "The ____ was a tank.", "T-34"),
    ("Ju 88", "Flown by ____.", "Ju 88"),
    ("Besancon", "Where?", "Besançon"),
    ("Wladyslaw Sikorski", WHO, "Władysław Sikorski"),
    ("King George VI", WHO, "George VI"),
    ("45", "How wide was it?", "45 km"),
    ("6:30 a.m.", "At what time?", "06:30"),
    ("second", "The ____ Army", "2nd"),
    ("some landing craft", "They used ____.", "landing craft"),
    ("Charles de Gaulle did not attend.", "Who did not attend?", "Charles de Gaulle"),
    ("No. 617 Squadron", "Which squadron?", "No. 617 Squadron"),
)
FAILS = (
    ("William Halsey", WHO, "Chester W. Nimitz", "says William Halsey where the reference has Chester W. Nimitz"),
    ("Chester W. Halsey", WHO, "Chester W. Nimitz", "says Chester W. Halsey"),
    ("Chester Nimitz and William Halsey", WHO, "Chester W. Nimitz", "holds Chester W. Nimitz, but also says William"),
    ("George V", WHO, "George VI", "says George V where the reference has George VI"),
    ("World War I", "In which war?", "World War II", "says World War I where"),
    ("Africa", "Where?", "North Africa", "says Africa where the reference has North Africa"),
    ("the Philippine Sea", "Where?", "Coral Sea", "says Philippine Sea"),
    ("156,00", "How many?", "156,000", "says 156"),
    ("1,560,000", "How many?", "156,000", "says 1,560,000"),
    ("four", "How many?", "3", "says four where the reference has 3"),
    ("45 miles", "How wide was it?", "45 km", "says 45 miles where the reference has 45 km"),
    ("1944", "When?", "1943", "says 1944 where the reference has 1943"),
    ("6 June", "When?", "6 June 1944", "says 6 June, which is less exact than 6 June 1944"),
    ("late 1943", "When?", "early 1943", "says late 1943 where"),
    ("4 June 1942", "When?", "4 to 7 June 1942", "4 June 1942"),
    ("6 June 1944 6 June 1945", "When?", "6 June 1944", "but also says 6 June 1945"),
    ("6 June 19444", "When?", "6 June 1944", "less exact"),
    ("16 June 1944", "When?", "6 June 1944", "says 16 June 1944"),
    ("6 June 1944", "When?", "June 1944", "says 6 June 1944"),
    ("Ju 87 bombers", "Flown by ____.", "Ju 88 bombers", "says Ju 87"),
    ("V-1", "The ____ hit London.", "V-2", "says V-1"),
    ("It wasn't on 6 June 1944", "When?", "6 June 1944", "denies 6 June 1944"),
    ("tanks", "They used ____.", "landing craft", "does not say landing craft"),
    ("no landing craft", "They used ____.", "landing craft", "denies landing craft"),
    ("6 June 1944 " * 20, "When?", "6 June 1944", "goes on for 60 words where 52 are plenty"),
    (" ?! ", "When?", "6 June 1944", "is empty"),
)


@pytest.mark.parametrize(("answer", "question", "reference"), PASSES)
def test_an_answer_that_holds_the_reference_in_other_words_passes(answer, question, reference):
    assert rule(answer, question, reference).passed, rule(answer, question, reference).explanation


@pytest.mark.parametrize(("answer", "question", "reference", "why"), FAILS)
def test_a_wrong_vague_or_contradicted_answer_fails_and_the_explanation_says_why(answer, question, reference, why):
    ruling = rule(answer, question, reference)
    assert not ruling.passed
    assert why in ruling.explanation


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("B", True),
        ("(b)", True),
        ("B. Dwight D. Eisenhower", True),
        ("Dwight D. Eisenhower", True),
        ("B) Dwight Eisenhower", True),
        ("The answer is B: Dwight D. Eisenhower", True),
        ("option b", True),
        ("D", False),
        ("B. Omar Bradley", False),
        ("A. Dwight D. Eisenhower", False),
        ("B. Dwight D. Eisenhower C. George Patton", False),
        ("B or A", False),
        ("Not B", False),
        ("B. xq zq", False),
        ("E", False),
    ],
)
def test_a_choice_is_right_by_its_letter_and_by_its_value_and_never_by_one_against_the_other(answer, passes):
    asked = ask(COMMANDER.question, COMMANDER.reference.answer, *CHOICES, family="multiple_choice")
    assert ReferenceJudge.of([asked]).rule(asked, answer).passed == passes


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ("True", True),
        ("true.", True),
        ("Yes, that's correct", True),
        ("It is not false", True),
        ("False", False),
        ("No", False),
        ("Not true", False),
        ("That isn't right.", False),
        ("No, that is incorrect.", False),
        ("It is not at all true.", False),
        ("By no means true", False),
        ("True or false", None),
        ("yes and no, true and false", None),
        ("Truetrue", None),
        ("Is it true?", None),
        ("5 July 1943", None),
    ],
)
@pytest.mark.parametrize("reference", [True, False])
def test_true_and_false_are_read_through_negations(answer, means, reference):
    ruling = rule(answer, "S began.", str(reference), str(not reference), family="true_false")
    assert ruling.passed == (means == reference)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("5 July 1943", True),
        ("July 5, 1943", True),
        ("5 July 1943, not 4 July 1943", True),
        ("5 July 1943 rather than 4 July 1943", True),
        ("4 July 1943", False),
        ("4 July 1943 or 5 July 1943", False),
        ("4 July 1943, not 5 July 1943", False),
        ("both", False),
    ],
)
def test_of_two_options_one_must_be_said_and_the_other_not(answer, passes):
    question = "When did it begin, 4 July 1943 or 5 July 1943?"
    assert rule(answer, question, "5 July 1943", "4 July 1943", family="which_of_two").passed == passes


def test_a_name_is_seen_against_another_one_also_without_capitals():
    question = "Who, Erwin Rommel or Bernard Montgomery?"
    ruling = rule("erwin rommel bernard montgomery", question, "Erwin Rommel", "Bernard Montgomery")
    assert not ruling.passed
    assert "but also says" in ruling.explanation


def test_an_option_the_question_offers_does_not_lend_its_words_to_the_right_name():
    question = "Who led the design, Reginald J. Mitchell or John W. Mitchell?"
    assert not rule("John W. Mitchell", question, "Reginald J. Mitchell", "John W. Mitchell").passed


def test_the_question_said_first_is_not_counted_and_alone_is_no_answer():
    judge = ReferenceJudge.of([KURSK])
    assert judge.rule(KURSK, f"{KURSK.question} 5 July 1943").passed
    assert judge.rule(KURSK, KURSK.question).explanation == "repeats the question and adds nothing"


def test_a_recital_of_the_source_fails_but_the_question_answered_in_a_sentence_passes():
    long = "The Battle of Kursk began on 5 July 1943 near Orel with a heavy barrage along the whole German front line."
    recited = ask("When did the Battle of Kursk begin?", "5 July 1943", source=long)
    judge = ReferenceJudge.of([KURSK])
    assert judge.rule(KURSK, SOURCE).passed
    assert judge.rule(recited, long).explanation == "recites the source instead of answering"


def test_a_denial_that_the_source_holds_itself_is_none():
    source = "Churchill praised them on 20 August 1940 by saying that never was so much owed to so few."
    asked = ask("When did Churchill praise them, saying never was so much owed?", "20 August 1940", source=source)
    judge = ReferenceJudge.of([asked])
    assert judge.rule(asked, "praised them on 20 August 1940 by saying that never was so much owed").passed


def test_a_day_more_than_the_reference_is_good_when_the_source_says_it():
    asked = ask("When?", "June 1944", source="It began on 6 June 1944.")
    judge = ReferenceJudge.of([asked])
    assert judge.rule(asked, "6 June 1944").passed
    assert not judge.rule(asked, "7 June 1944").passed


DAYS = st.dates(date(1930, 1, 1), date(1949, 12, 31))


def spoken(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


@given(DAYS, DAYS)
def test_a_date_passes_itself_in_american_order_and_no_other_date_passes_beside_it(right, other):
    american = f"{right:%B} {right.day}, {right.year}"
    assert rule(american, "When?", spoken(right)).passed
    assert rule(f"{american} or {spoken(other)}", "When?", spoken(right)).passed == (right == other)
    assert rule(spoken(other), "When?", spoken(right)).passed == (right == other)


@given(st.integers(2, 10**7), st.integers(2, 10**7))
def test_a_number_passes_with_or_without_commas_and_no_other_number_does(right, other):
    assert rule(f"{right}", "How many?", f"{right:,}").passed
    assert rule(f"{other:,}", "How many?", f"{right:,}").passed == (right == other)


@given(st.text(), st.sampled_from(FAMILIES), st.sampled_from(["5 July 1943", "Erwin Rommel", "45 km", "True", "craft"]))
def test_any_text_a_model_can_write_gets_a_ruling_with_a_reason_and_the_same_one_again(answer, family, reference):
    first = rule(answer, "What was it?", reference, "another one", family=family)
    assert first.explanation
    assert first == rule(answer, "What was it?", reference, "another one", family=family)


def test_every_reference_passes_its_own_question_and_every_wrong_option_fails():
    questions = some_questions()
    judge = ReferenceJudge.of(questions)
    for question in questions:
        assert judge.rule(question, question.reference.answer).passed
        for wrong in question.reference.alternatives:
            assert not judge.rule(question, wrong).passed
