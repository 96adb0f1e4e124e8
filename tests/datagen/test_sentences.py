"""Sentences of prose full of ranks, hills and initials. `|` in a case marks where a cut belongs, and nowhere else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen import sentences

CASES = """
Lt. Gen. Omar Bradley led the First Army. | He landed on 9 June.
Maj. Gen. A. Smith rested. | His staff did not.
Flt. Lt. Smith flew at dawn. | Sqn. Ldr. Jones followed.
Wg. Cdr. Guy Gibson led No. 617 Sqn. RAF over the dams. | Eight aircraft were lost.
Vice-Adm. Ozawa withdrew. | Rear-Adm. Kurita turned back.
He was promoted to Lt. Col. George Taylor's staff. | It met daily.
Brig. Gen. Norman Cota went ashore with Capt. Miller. | Both lived.
Cdr. Minoru Genda planned the raid. | Cmdr. Mitsuo Fuchida led it.
The 3rd Bn. 5th Marines held the ridge. | It did so for two days.
The 2nd Div. Artillery fired for an hour. | The hill fell.
The Pz. Div. Grossdeutschland attacked. | It failed.
Orders reached the 26th Regt. | The men moved at once.
Hptm. Hans Schmidt surrendered. | Oblt. Karl Weber did not.
The rank of Sgt. Maj. was abolished. | Nobody minded.
He reached the rank of Lt. | The promotion came late.
Approx. 500 men fell at Hill 192. | Few were buried.
The bridge was approx. 50 m long. | It was blown up.
It lay ca. 40 km inland. | The road was bad.
The town was founded c. 1190 by monks. | It burned in 1944.
Losses were put at approx. 3,000. | Later counts differ.
No. 10 Group defended the west. | No. 11 Group had the south-east.
See Vol. 3 and Fig. 12 of the report. | Both show the harbour.
Convoys Nos. 5 and 6 sailed in Oct. 1942. | They arrived safely.
The order, No. 227, forbade retreat. | It was read to the troops.
In Sept. 1939 Poland was invaded. | In Apr. 1940 Norway followed.
The answer was no. | The men stayed all the same.
Mt. Suribachi fell on 23 February. | A flag was raised.
Ft. Drum guarded Manila Bay. | It held until 6 May.
Ste. Mère Église was the first town freed. | Ste. Marie du Mont came next.
St. Vith was lost on 21 December. | St. Lô had fallen in July.
The island has two peaks, Mt. Tapotchau and Mt. Tipo Pale. | Both were held.
They marched from Pt. Cruz to Mt. Austen. | It took a week.
The U.S. Third Army took Metz. | Its losses were heavy.
The U.S. 1st Infantry Division landed at Omaha. | The British were to the east.
He was sent to the U.S. | The army left without him.
He went back to the U.S. | In 1945 he returned.
The U.S. Navy lost four carriers. | The U.S. Marines lost a battalion.
The U.S.S.R. declared war. | The U.K. had done so in 1939.
The U.N. Security Council met. | The U.N. Charter was signed in June.
He moved to Washington, D.C. | The war was over.
The D.C. National Guard was called. | It came by train.
A treaty with the U.S. Senate's consent was signed. | Canada joined later.
The raid began at 6 a.m. Tokyo time. | It ended by noon.
They met at 5 p.m. Monday. | Nobody spoke.
The guns fell silent at 11 a.m. | The men climbed out.
The bombers left at 2 a.m. GMT. | Four came back.
Dwight D. Eisenhower waited. | George C. Marshall did not.
J. R. R. Tolkien served in 1916. | C. S. Lewis did in 1917.
He wrote as H. G. Wells. | A film followed.
Company B. was cut off. | Company C. | The rest got through.
He had a plan B. | The plan failed.
They landed on Beach B. | Resistance was light.
Harry S. Truman agreed. | Franklin D. Roosevelt had not.
The battle ended.[1] | Both sides withdrew.[2][3] | It had lasted a week.
The battle ended. [4] | Rain fell.[a]
The city fell.[note 2] | The mayor fled.[citation needed] | Nobody followed.
"Nuts!" he said. | The Germans were puzzled.
"Who goes there?" asked the guard. | No answer came.
He shouted "Fire!" and ran. | The gun did not go off.
Yamamoto asked: "When?" | Nobody could tell.
The tank (e.g. the T-34) was simple. | It was also cheap.
Heavy guns, i.e. those above 150 mm, stayed behind. | The rest moved.
In the case of Smith vs. Jones the court was split. | Jones won.
It cost $5.3 million. | 500 men died building it.
The column was 3.5 km long. | It moved at 4.5 km/h.
The wreck lies at 500 m. | It was found in 1989.
The run was 3,000 ft. | This was too short.
The river is 2 mi. wide here. | There is no bridge.
Dr. Morell treated him. | Prof. Heisenberg was asked in 1942.
Gov. Dewey lost to Pres. Roosevelt. | Sen. Truman was elected with him.
Martin Luther King Jr. Day is in January. | It is a holiday.
The firm Krupp A.G. Essen made the guns. | They were huge.
The war was over... | Or so they thought.
Was it over? | No! | It had only begun.
On 6 June 1944, the 101st Abn. Div. Headquarters landed near Hiesville. | It was 1:30 a.m. | The sky was clear.
He joined the 5th Cav. Regt. | The unit sailed in May.
The peak is Mount Cheaha, at 2,413 ft. | Alabama's land is 22 million acres.
The temple was built in the 4th century B.C. | Parts of a capital were found.
China was a power until 1800 A.D. | Trade made it rich.
The foreign policy was pro-U.S. and anti-war. | It changed in 1941.
Mark E. Neely Jr. has argued so. | Others have not.
He called it a defeat. | "We lost all our guns." | He resigned.
The Bofors gun was made in Sweden. | (Many were made in the U.S. as well.) | It fired fast.
The 7th Inf. Div. took Attu in May 1943. | The 27th Inf. Div. took Makin in Nov. 1943.
""".strip().splitlines()


def cases() -> list[list[str]]:
    return [[part.strip() for part in line.split("|")] for line in CASES]


def cuts(pieces: list[str]) -> set[int]:
    """Where a list of sentences cuts its text, in characters that are not white space."""
    places, at = set(), 0
    for piece in pieces[:-1]:
        at += len("".join(piece.split()))
        places.add(at)
    return places


def unrepaired(text: str) -> list[str]:
    return [piece.strip() for piece in sentences.pieces(text) if piece.strip()]


def f1(splitter) -> float:
    right = found = wanted = 0
    for expected in cases():
        got, truth = cuts(splitter(" ".join(expected))), cuts(expected)
        right, found, wanted = right + len(got & truth), found + len(got), wanted + len(truth)
    return 2 * right / (found + wanted)


def test_the_repair_is_worth_its_lines():
    plain, mended = f1(unrepaired), f1(sentences.split)
    print(f"F1 on {len(cases())} cases: sentencex {plain:.3f}, repaired {mended:.3f}")
    assert len(cases()) >= 60
    assert mended >= 0.97
    assert mended > plain + 0.05


@pytest.mark.parametrize("expected", cases(), ids=lambda pieces: pieces[0][:40])
def test_a_tricky_passage(expected):
    assert sentences.split(" ".join(expected)) == expected


PIECES = sentences.words(
    "The the Gen. Lt. U.S. Army No. 5 c. 1944 it [1] [a] fell. rose! why? J. St. Lô m. km. p.m. (e.g. T-34) "
    '"Go!" he D.C. Co. B. ... ; ) 中。 é 3,000 At'
)
PROSE = st.lists(
    st.sampled_from(sorted(PIECES)) | st.text(alphabet="aZ.!?[]() 1\n\u00a0", max_size=6), max_size=25
).map(" ".join)


@given(PROSE)
@settings(max_examples=400, deadline=None)
def test_sentences_stand_in_their_paragraph_one_after_another_and_leave_nothing_but_white_space(text):
    left = " ".join(text.split())
    for sentence in sentences.split(text):
        left = left.lstrip()
        assert sentence == sentence.strip() != ""
        assert left.startswith(sentence)
        left = left.removeprefix(sentence)
    assert not left.strip()


def test_nothing_has_no_sentence():
    assert sentences.split("") == sentences.split(" \n\u00a0 ") == []


def test_line_breaks_inside_a_paragraph_are_spaces():
    assert sentences.split("The fleet\nsailed.\nIt was\ndawn.") == ["The fleet sailed.", "It was dawn."]
