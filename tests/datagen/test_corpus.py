"""Articles into the factory: what is kept, what is refused and in which words, and that a kill changes nothing."""

import bz2
import os
import signal
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen import dump
from datagen.corpus import Counts, collect, windows
from datagen.dump import BadSource, BrokenOff
from datagen.factory import open_factory
from datagen.language import why_not_english, why_not_latin
from datagen.sources import Settings

ROOT = Path(__file__).parents[2]
REAL_DUMP = ROOT.parent / "shared" / "data" / "enwiki-106.xml.bz2"
MAX_RSS_MB = 500
PROSE = (
    "The {name} Division crossed the river on {day} June 1944. It lost about {day}00 men before noon. "
    "The bridge at {name} was held by {day} soldiers for {{{{convert|{day}|km|mi}}}} along the road. "
    "General {name} Smith arrived in the evening. He ordered the retreat to the old town. "
)
WORDS = ("Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Kilo", "Lima", "Mike")
CHINESE = "第二次世界大战是一场全球性的战争。它始于一九三九年。战争在欧洲和亚洲造成了巨大的破坏。" * 8
FRENCH = "La bataille commença le matin du six juin et dura toute la journée. Les soldats étaient fatigués. " * 8


def article(number: int, repeats: int = 3) -> str:
    return " ".join(PROSE.format(name=WORDS[(number + k) % 12], day=1 + (number * 7 + k) % 28) for k in range(repeats))


def page(title: str, text: str, *, namespace: int = 0, redirect: bool = False) -> str:
    mark = '<redirect title="X"/>' if redirect else ""
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>7</id>{mark}"
        f"<revision><id>9</id><text>{text}</text></revision></page>\n"
    )


def as_dump(*pages: str) -> bytes:
    body = "".join(pages)
    return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11">{body}</mediawiki>'.encode()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(bz2.compress(content) if path.suffix == ".bz2" else content)
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(6):
        plain = article(number).replace("{{convert|", "").replace("|km|mi}}", " km")
        (folder / f"day_{number}.txt").write_text(f"# Day {number}\n\n{plain}\n\n{plain}\n")
    return folder


@pytest.fixture
def db(tmp_path):
    with closing(open_factory(tmp_path / "factory.db")) as db:
        yield db


def take(db, source: Path, **settings) -> Counts:
    return list(collect(db, Settings(source, **settings)))[-1].counts


def refusal(db, source: Path, **settings) -> str:
    with pytest.raises(BadSource) as caught:
        take(db, source, **settings)
    return str(caught.value)


def contents(db) -> list[tuple]:
    """Everything a corpus writes, row for row."""
    tables = ("article", "snippet", "meta")
    return [tuple(row) for table in tables for row in db.execute(f"select * from {table} order by 1")]


# ---- windows ----

SIZES = st.tuples(st.integers(0, 200), st.integers(1, 20)).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(1, pair[1]))
)


@given(SIZES)
def test_every_sentence_is_in_a_snippet(sizes):
    count, size, stride = sizes
    assert {at for start, end in windows(count, size, stride) for at in range(start, end)} == set(range(count))


@given(SIZES)
def test_snippets_overlap_as_promised(sizes):
    count, size, stride = sizes
    cut = windows(count, size, stride)
    assert all(end - start == min(size, count) for start, end in cut)
    assert all(0 < later - earlier <= stride for (earlier, _), (later, _) in pairwise(cut))
    assert all(start == at * stride for at, (start, _) in enumerate(cut[:-1]))


def test_the_windows_of_a_short_and_of_a_long_article():
    assert windows(0, 8, 4) == []
    assert windows(5, 8, 4) == [(0, 5)]
    assert windows(8, 8, 4) == [(0, 8)]
    assert windows(12, 8, 4) == [(0, 8), (4, 12)]
    assert windows(14, 8, 4) == [(0, 8), (4, 12), (6, 14)]


# ---- a folder ----


def test_a_folder_becomes_articles_in_the_order_of_its_names(db, folder):
    counts = take(db, folder)
    rows = db.execute("select * from article order by id").fetchall()
    assert [row["title"] for row in rows] == [f"Day {number}" for number in range(6)]
    assert rows[2]["source"] == "texts/day_2.txt"
    assert rows[2]["num_words"] == len(rows[2]["text"].split())
    assert counts.articles == 6
    assert counts.snippets == db.execute("select count(*) from snippet").fetchone()[0]


def test_an_articles_snippets_together_hold_its_text(db, folder):
    take(db, folder)
    text = db.execute("select text from article where id = 3").fetchone()["text"]
    rows = db.execute("select * from snippet where article_id = 3 order by ordinal").fetchall()
    assert [row["ordinal"] for row in rows] == list(range(len(rows)))
    assert all(row["num_sentences"] == 8 for row in rows)
    assert all(row["text"] in " ".join(text.split()) for row in rows)
    assert rows[0]["text"].startswith(text[:40])
    assert rows[-1]["text"].endswith(text[-40:])


def test_markdown_is_read_without_its_marks(db, tmp_path):
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.md").write_text("# Hidden\n\n" + article(1))
    (folder / "deep" / "a.md").write_text(
        "---\ntags: x\n---\n# The *Title*\n\n## Part\n\nThe **tank** of the [army](http://x) stood `here` today.\n\n"
        "```\ncode.\n```\n\n| a | b |\n|---|---|\n\n"
        "- The first point is a whole sentence.\n- The second point is too.\n\n"
        "> It was said in a quotation.\n\n![picture](x.png)\n"
    )
    take(db, folder, min_words=1)
    [row] = db.execute("select * from article").fetchall()
    assert row["title"] == "The *Title*"
    assert row["text"] == (
        "The tank of the army stood here today.\n\nThe first point is a whole sentence.\n\n"
        "The second point is too.\n\nIt was said in a quotation."
    )


def test_a_file_without_a_heading_is_called_by_its_name(db, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "fall_of_Caen.txt").write_text("﻿" + "The town fell in July. " * 20)
    take(db, folder)
    row = db.execute("select * from article").fetchone()
    assert (row["title"], row["text"][:8]) == ("fall of Caen", "The town")


# ---- a dump ----


@pytest.fixture
def small_dump(tmp_path):
    return write(
        tmp_path / "small.xml.bz2",
        as_dump(
            page("Talk:A", article(0), namespace=1),
            page("Old name", "#REDIRECT [[A]]", redirect=True),
            page("Older name", "#redirect [[A]]"),
            page("Battle of A", article(1) + " [[Category:Battles of 1944]]"),
            page("Battle of B", article(2) + " [[Category:Battles of 1945|B]]"),
            page("Stub", "It is short."),
            page("Battle of C", article(3) + " It cost {{unheard of|5}} then. [[Category:Battles of 1944]]"),
        ),
    )


def test_a_dump_gives_its_articles_rendered_and_leaves_the_rest(db, small_dump):
    counts = take(db, small_dump)
    rows = db.execute("select * from article order by id").fetchall()
    assert [row["title"] for row in rows] == ["Battle of A", "Battle of B", "Battle of C"]
    assert rows[0]["source"] == "small.xml.bz2#page=7&revision=9"
    assert "8 soldiers for 8 kilometres along" in rows[0]["text"]
    assert (counts.too_short, counts.sentences_with_holes) == (1, 1)
    assert counts.unknown_templates == {"unheard of": 1}
    assert "unheard" not in rows[2]["text"]
    assert "It cost" not in rows[2]["text"]


def test_titles_and_categories_choose(db, small_dump, tmp_path):
    assert take(db, small_dump, titles=("battle_of B",)).articles == 1
    assert take(db, small_dump, category="battles of 1944").articles == 2
    assert [row["title"] for row in db.execute("select title from article order by id")] == [
        "Battle of B",
        "Battle of A",
        "Battle of C",
    ]


def test_titles_that_are_not_there_are_named(db, small_dump):
    counts = take(db, small_dump, titles=("Battle of B", "Battle of Z"))
    assert counts.missing_titles == ["Battle of Z"]
    assert "not found: Battle of Z" in counts.summary()


def test_a_limit_is_kept(db, small_dump):
    assert take(db, small_dump, limit=2).articles == 2
    assert take(db, small_dump, limit=3).articles == 1
    assert db.execute("select count(*) from article").fetchone()[0] == 3


def test_of_many_revisions_the_last_one_counts(db, tmp_path):
    revisions = "".join(f"<revision><id>{n}</id><text>{article(n)}</text></revision>" for n in (1, 2, 3))
    source = write(tmp_path / "history.xml", as_dump(f"<page><title>A</title><ns>0</ns><id>7</id>{revisions}</page>"))
    take(db, source)
    row = db.execute("select * from article").fetchone()
    assert row["source"] == "history.xml#page=7&revision=3"


# ---- once ----


def test_a_finished_source_is_not_read_again(db, small_dump):
    take(db, small_dump)
    before = contents(db)
    [only] = collect(db, Settings(small_dump))
    assert only.counts.finished
    assert contents(db) == before


def test_a_second_source_adds_what_is_new_and_keeps_the_first_text(db, tmp_path):
    first = write(tmp_path / "a.xml", as_dump(page("A", article(1)), page("B", article(2))))
    second = write(tmp_path / "b.xml", as_dump(page("A", article(1)), page("B", article(5)), page("C", article(3))))
    take(db, first)
    counts = take(db, second)
    assert (counts.articles, counts.already_there, counts.title_taken) == (1, 1, 1)
    text = db.execute("select text from article where title = 'B'").fetchone()["text"]
    assert "Charlie Division" in text


def test_one_factory_holds_one_window(db, small_dump):
    take(db, small_dump)
    assert refusal(db, small_dump, snippet_sentences=6) == (
        "this factory's snippets are cut with snippet_sentences=8 stride=4, not snippet_sentences=6 stride=4: "
        "take those, or another factory"
    )


@pytest.mark.parametrize("leave_after", [1, 2, 4, 7])
def test_leaving_at_any_page_and_coming_back_equals_staying(db, small_dump, tmp_path, leave_after):
    take(db, small_dump)
    with closing(open_factory(tmp_path / "other.db")) as other:
        for done, _ in enumerate(steps := collect(other, Settings(small_dump)), start=1):
            if done == leave_after:
                steps.close()
                break
        take(other, small_dump)
        assert contents(other) == contents(db)


def test_kill_dash_9_at_any_moment_and_again_equals_a_quiet_run(db, tmp_path):
    source = write(tmp_path / "many.xml.bz2", as_dump(*(page(f"Battle {n}", article(n, 6)) for n in range(120))))
    take(db, source)
    other = tmp_path / "other.db"
    code = (
        "import sys; from pathlib import Path\n"
        "from datagen.corpus import collect; from datagen.factory import open_factory\n"
        "from datagen.sources import Settings\n"
        f"for _ in collect(open_factory(sys.argv[1]), Settings(Path({str(source)!r}))): print('page', flush=True)"
    )
    kills = 0
    for pages_first in (1, 10, 25, 60):
        with subprocess.Popen([sys.executable, "-c", code, other], cwd=ROOT, stdout=subprocess.PIPE) as child:
            for _ in range(pages_first):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        kills += child.returncode == -signal.SIGKILL
    assert kills == 4
    with closing(open_factory(other)) as survivor:
        articles = survivor.execute("select count(*) from article").fetchone()[0]
        assert 0 < articles < 120
        take(survivor, source)
        assert contents(survivor) == contents(db)


# ---- refusals: what the user reads ----


def test_what_is_no_source_is_refused_before_it_is_read(db, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "picture.png").write_bytes(b"x")
    odd = tmp_path / "notes.docx"
    odd.write_bytes(b"x")
    assert "there is no" in refusal(db, tmp_path / "missing.xml")
    assert "holds no .txt or .md file" in refusal(db, empty)
    assert "neither a folder nor a dump: take a MediaWiki dump (.xml, .xml.bz2)" in refusal(db, odd)


def test_a_folder_has_no_categories(db, folder):
    assert "files in a folder have no category" in refusal(db, folder, category="Battles")


def test_a_file_that_is_not_xml_is_refused(db, tmp_path):
    for name, content in {"a.xml": b"Dear diary", "b.xml": b"", "c.xml.bz2": b"{}"}.items():
        assert "is not XML" in refusal(db, write(tmp_path / name, content))


def test_other_xml_is_refused(db, tmp_path):
    source = write(tmp_path / "feed.xml", b"<rss><channel/></rss>")
    assert "feed.xml is XML, but no MediaWiki export: it opens with <rss>, not <mediawiki>" in refusal(db, source)


@pytest.mark.parametrize("name", ["cut.xml", "cut.xml.bz2"])
def test_a_truncated_dump_keeps_its_whole_articles_and_says_so(db, tmp_path, name):
    whole = as_dump(*(page(f"Battle {n}", article(n, 20)) for n in range(120)))
    packed = bz2.compress(whole, 1) if name.endswith(".bz2") else whole
    source = tmp_path / name
    source.write_bytes(packed[: len(packed) // 2])
    told = refusal(db, source)
    articles = db.execute("select count(*) from article").fetchone()[0]
    assert 30 < articles < 90
    assert f"after {articles} whole pages" in told
    assert "fetch the file again" in told
    assert f"In the factory by now: {articles} articles" in told
    source.write_bytes(packed)
    counts = take(db, source)
    assert (counts.already_there, counts.articles) == (articles, 120 - articles)


def test_a_dump_damaged_in_the_middle_is_told_apart_from_a_good_one(db, tmp_path):
    packed = bytearray(bz2.compress(as_dump(*(page(f"Battle {n}", article(n, 20)) for n in range(120))), 1))
    packed[len(packed) // 2] ^= 0xFF
    source = tmp_path / "damaged.xml.bz2"
    source.write_bytes(packed)
    assert "ends or is damaged in the middle" in refusal(db, source)


def test_a_page_is_given_out_before_the_break_behind_it(tmp_path):
    source = tmp_path / "cut.xml"
    source.write_bytes(as_dump(page("A", "x"), page("B", "y"))[:-30])
    pages = dump.pages(source)
    assert next(pages).title == "A"
    with pytest.raises(BrokenOff, match="after 1 whole pages"):
        next(pages)


def test_a_corpus_in_chinese_is_refused_with_the_reason(db, tmp_path):
    source = write(tmp_path / "zh.xml", as_dump(page("战争", CHINESE), page("战役", CHINESE)))
    told = refusal(db, source, min_words=1)
    assert "none of the 2 articles" in told
    assert "2 are not English (战争: " in told
    assert "are not Latin" in told
    assert "take English articles" in told


def test_a_chinese_or_french_article_among_english_ones_is_left_out(db, tmp_path):
    source = write(
        tmp_path / "mix.xml", as_dump(page("A", article(1)), page("战争", CHINESE), page("Bataille", FRENCH))
    )
    counts = take(db, source, min_words=1)
    assert (counts.articles, counts.not_english) == (1, 2)
    assert counts.refused[1] == "Bataille: it reads like French"


GERMAN = "Die Schlacht begann im September. Die Brücken wurden von den Deutschen gehalten und später gesprengt. " * 8
DUTCH = "De slag was een reeks operaties van het leger. De havens waren in handen van de Duitsers. " * 8


def test_english_with_foreign_names_is_english():
    text = "The city of Москва (Moscow) was called 莫斯科 by the Chinese. " * 3 + "Its people stayed there in 1941."
    assert why_not_latin([text]) is None
    assert why_not_english([text]) is None


@pytest.mark.parametrize("text", [FRENCH, GERMAN, DUTCH, "1944. 1945. 1946."])
def test_latin_letters_alone_do_not_make_english(text):
    assert why_not_latin([text]) is None
    assert why_not_english([text]) is not None


def test_terse_english_is_english():
    assert why_not_english(["Height: tall.", "Weight: heavy.", "Color: green.", "Favorite food: cheese."]) is None


def test_an_empty_corpus_is_refused(db, tmp_path):
    assert "holds no article" in refusal(db, write(tmp_path / "none.xml", as_dump()))
    stubs = write(tmp_path / "stubs.xml", as_dump(page("A", "It is short."), page("B", "")))
    assert "2 articles too short" in refusal(db, stubs)
    assert "set min_words lower" in refusal(db, stubs)


def test_a_choice_that_nothing_matches_is_refused(db, small_dump):
    told = refusal(db, small_dump, titles=("Atlantis", "Mu"), category="Islands")
    assert "matches titles=Atlantis,Mu and category=Islands" in told


def test_a_text_that_is_not_utf8_is_named(db, folder):
    (folder / "day_3.txt").write_bytes("# Tag 3\n\nDer Führer.".encode("latin-1"))
    told = refusal(db, folder)
    assert "day_3.txt is not UTF-8 text (byte 14): save it as UTF-8" in told


def test_a_folder_that_is_called_like_a_file_is_only_a_folder(db, folder):
    folder.joinpath("more.txt").mkdir()
    folder.joinpath("more.txt/inside.txt").write_text(f"# Inside\n\n{article(3, 6)}")
    take(db, folder)
    assert db.execute("select count(*) from article where title = 'Inside'").fetchone()[0] == 1


def test_a_link_that_leads_nowhere_is_named(db, folder):
    folder.joinpath("lost.txt").symlink_to("/nowhere")
    assert "lost.txt can't be read (No such file or directory): mend it, or take it away" in refusal(db, folder)


def test_a_name_that_is_no_text_is_named(db, folder):
    folder.joinpath(os.fsdecode(b"caf\xe9.txt")).write_text(article(3, 6))
    assert r"'caf\udce9.txt' is not UTF-8, and it would be a title: rename the file" in refusal(db, folder)


def test_a_picture_in_the_text_costs_its_sentence_and_no_time(db, tmp_path):
    text = f"{article(1, 6)} The map is {'iVBORw0KGgo' * 200_000} and it shows the river. {article(2, 6)}"
    tmp_path.joinpath("river.txt").write_text(f"# River\n\n{text}")
    counts = take(db, tmp_path)
    assert (counts.articles, counts.sentences_with_holes) == (1, 1)
    assert "iVBORw0" not in db.execute("select text from article").fetchone()[0]


def test_an_empty_heading_does_not_make_a_title_of_the_text(db, tmp_path):
    tmp_path.joinpath("river.txt").write_text(f"#\n{article(1, 6)}")
    take(db, tmp_path)
    assert db.execute("select title from article").fetchone()[0] == "river"


# ---- real size ----


def peak_rss_mb(source: Path, factory: Path) -> float:
    """Of a child that reads a source, so that nothing else is in the number."""
    code = (
        "import sys; from pathlib import Path\n"
        "from datagen.corpus import collect; from datagen.factory import open_factory\n"
        "from datagen.sources import Settings\n"
        "for _ in collect(open_factory(sys.argv[1]), Settings(Path(sys.argv[2]))): pass\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"  # ru_maxrss is inherited
    )
    done = subprocess.run([sys.executable, "-c", code, factory, source], cwd=ROOT, capture_output=True, check=True)
    return int(done.stdout) / 1024


def test_memory_does_not_grow_with_the_dump(tmp_path):
    few, many = (
        write(tmp_path / f"{count}.xml.bz2", as_dump(*(page(f"Battle {n}", article(n, 20)) for n in range(count))))
        for count in (20, 400)
    )
    small, large = peak_rss_mb(few, tmp_path / "few.db"), peak_rss_mb(many, tmp_path / "many.db")
    print(f"peak RSS: {small:.0f} MB for 20 articles, {large:.0f} MB for 400")
    assert large < small + 15
    assert large < MAX_RSS_MB


@pytest.mark.skipif(not REAL_DUMP.exists(), reason="the real dump ../shared/data/enwiki-106.xml.bz2 is not here")
def test_the_real_dump_ends_in_clean_articles_within_the_memory_promised(tmp_path):
    peak = peak_rss_mb(REAL_DUMP, tmp_path / "real.db")
    with closing(open_factory(tmp_path / "real.db")) as db:
        rows = db.execute("select title, text from article").fetchall()
        text = "\n".join(row["text"] for row in rows)
    print(f"{len(rows)} articles, {len(text):,} characters, peak RSS {peak:.0f} MB")
    assert peak < MAX_RSS_MB
    assert len(rows) > 90
    assert len(text) > 2_000_000
    for residue in ("{{", "}}", "[[", "]]", "thumb|", "<ref", "File:", "\ufffc", "\ufffb", "( ", " )", "$ in"):
        assert residue not in text, f"{residue!r} in the articles"
    apollo = next(row["text"] for row in rows if row["title"] == "Apollo 11")
    assert "collected 47.5 pounds of lunar material" in apollo
