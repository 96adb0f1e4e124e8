"""Bad input, as a user brings it: a sentence, an exit code, nothing lost, nothing half done, and the lane goes on.

What can be known before is refused by jobctl and nothing is queued. What only the work can find out fails the job, for
good and at once, with the sentence in `jobctl list`; the next job of the lane runs.
"""

import bz2
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tower import CHECKOUT, Tower, until

from datagen import files
from datagen.factory import open_factory
from gpt import archive, checkpoint
from tests.jobs.small_home import TRAIN, make_home, run_kind

ROOM = CHECKOUT / "datagen" / "sample"
PAGE = """<page><title>{title}</title><ns>0</ns><id>{id}</id>
<revision><id>1</id><text xml:space="preserve">{text}</text></revision></page>"""
WORDS = (
    "The battle began on 5 July 1943, when the German army attacked the town from the north with 900 tanks. "
    "It was the largest fight of that summer, and the defenders had been told of it by their agents in Switzerland. "
    "By 12 July the attack had failed, and the general who had planned it was sent home to Berlin in the same week. "
)


def dump(num_pages: int) -> bytes:
    pages = "".join(
        PAGE.format(title=f"Battle {n}", id=n, text=f"{WORDS} It cost {n + 100} men. " * 3) for n in range(num_pages)
    )
    return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">{pages}</mediawiki>'.encode()


def counted(tower: Tower) -> int:
    return int(tower.db.execute("select count(*) from job").fetchone()[0])


def articles(tower: Tower, factory: str = "factory.db") -> int:
    with closing(open_factory(tower.path / factory)) as db:
        return int(db.execute("select count(*) from article").fetchone()[0])


# ── refused before anything is queued ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "got", "takes"),
    [
        (["add", "trian"], "there is no kind 'trian'", "take one of answer, command, corpus"),
        (["add", "corpus", "--set", "sauce=x"], "corpus has no setting 'sauce'", "it takes source=None"),
        (["add", "corpus", "--set", "limit=many"], "limit='many' does not fit", "it takes a whole number or none"),
        (["add", "corpus", "--set", "limit"], "not 'limit'", "--set takes key=value"),
        (["add", "corpus", "--set", "source=nowhere.xml"], "there is no", "take a MediaWiki dump"),
        (["add", "train"], "train needs pack", "give it with --set pack=..."),
        (["add", "train", "--set", "pack=/etc"], "'/etc' is not a path inside the home", "take one like 'packs/demo'"),
        (["add", "train", "--set", "pack=packs/x", "n_head=7"], "n_embd=768 does not split", "take a multiple"),
        (["run", "nowhere.toml"], "there is no recipe at nowhere.toml", "jobs/recipes/"),
    ],
)  # fmt: skip
def test_what_can_be_known_before_is_refused_with_a_sentence_and_nothing_is_queued(tower, words, got, takes):
    said = tower.ctl(*words, code=1)
    assert said.startswith("jobctl: ")
    assert got in said
    assert takes in said
    assert counted(tower) == 0


def test_a_folder_that_is_empty_and_a_file_that_is_no_dump_are_refused_before(tower, tmp_path):
    (tmp_path / "empty").mkdir()
    said = tower.ctl("add", "corpus", "--set", f"source={tmp_path / 'empty'}", code=1)
    assert "holds no .txt or .md file" in said
    (tmp_path / "list.csv").write_text("a,b\n")
    said = tower.ctl("add", "corpus", "--set", f"source={tmp_path / 'list.csv'}", code=1)
    assert "neither a folder nor a dump: take a MediaWiki dump (.xml, .xml.bz2) or a folder" in said
    assert counted(tower) == 0


@pytest.mark.parametrize(
    ("line", "typo", "sentence"),
    [
        ('kind = "pack"', 'kind = "pakc"', "recipe tiny, job pack: there is no kind 'pakc': take one of"),
        ("context_len = 256", "contxt_len = 256", "recipe tiny, job pack: pack has no setting 'contxt_len'"),
        ("{tokenizer.out}", "{tokeniser.out}", "above it are corpus, generate, tokenizer"),
        ("{tokenizer.out}", "{tokenizer.place}", "it has factory, out, vocab_size"),
        ('after = ["generate"]', 'after = ["genrate"]', "tokenizer comes after 'genrate', which is not above it"),
        ("[vars]", "[vars", "is not a recipe"),
        ("steps = 60", "stepz = 60", "steps='{steps}' does not fit: it takes a whole number"),
    ],
)
def test_a_recipe_with_a_typo_says_where_and_queues_none_of_it(tower, tmp_path, line, typo, sentence):
    text = (CHECKOUT / "tests" / "whole" / "tiny.toml").read_text()
    assert line in text
    (tmp_path / "tiny.toml").write_text(text.replace(line, typo, 1))
    (tmp_path / "articles").mkdir()
    shutil.copy(ROOM / "winter-war.txt", tmp_path / "articles")
    said = tower.ctl("run", tmp_path / "tiny.toml", "--set", f"source={tmp_path / 'articles'}", code=1)
    assert sentence in said
    assert counted(tower) == 0


# ── found out by the work ─────────────────────────────────────────────────────────────────────────────────────────


def fails_alone(tower: Tower, bad: int) -> str:
    """Run the queue: the bad job fails at once and for good, the one behind it runs. The bad one's sentence."""
    attempt = tower.job(bad).attempt + 1
    behind = tower.sh("true", "--lane", tower.job(bad).lane)
    tower.serve()
    job = tower.job(bad)
    assert (job.state, job.attempt) == ("failed", attempt)
    assert tower.job(behind).state == "succeeded"
    assert job.error is not None
    assert job.error[:20] in tower.ctl("list")
    assert f"job {bad} failed: {job.error}" in tower.ctl("wait", bad, code=1)
    return job.error


def test_a_dump_that_breaks_off_keeps_its_whole_pages_and_a_whole_one_goes_on(tower, tmp_path):
    path, whole = tmp_path / "wiki.xml.bz2", bz2.compress(dump(40), 1)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    cut_xml = tmp_path / "wiki.xml"
    cut_xml.write_bytes(dump(40)[:20_000])
    bad = tower.add("corpus", source=cut_xml)
    said = fails_alone(tower, bad)
    assert "ends or is damaged in the middle, after" in said
    assert "fetch the file again and add the job again, what was read so far is kept" in said
    kept = articles(tower)
    assert 0 < kept < 40
    said = fails_alone(tower, tower.add("corpus", source=path, factory="other.db"))
    assert "ends or is damaged in the middle" in said
    path.write_bytes(whole)
    tower.add("corpus", source=path)
    tower.serve()
    assert articles(tower) == 40


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.xml", b"It was a dark and stormy night.", "is not XML"),
        ("a.xml.bz2", b"It was a dark and stormy night.", "is not XML"),
        ("a.xml.bz2", bz2.compress(b"\0\1\2 binary"), "is not XML"),
        ("a.xml", b"", "is not XML"),
        ("a.xml", b"<html><body>No such dump</body></html>", "is XML, but no MediaWiki export: it opens with <html>"),
        ("a.xml", b"<mediawiki></mediawiki>", "holds no article"),
    ],
)
def test_a_file_that_is_no_dump_fails_with_a_sentence_and_leaves_no_article(tower, tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    said = fails_alone(tower, tower.add("corpus", source=tmp_path / name))
    assert sentence in said
    assert "take" in said
    assert articles(tower) == 0


def test_a_folder_in_chinese_is_refused_by_name_and_not_by_silence(tower, tmp_path):
    (tmp_path / "zh").mkdir()
    (tmp_path / "zh" / "库尔斯克.txt").write_text("库尔斯克会战是第二次世界大战中最大规模的坦克会战。" * 60)
    said = fails_alone(tower, tower.add("corpus", source=tmp_path / "zh"))
    assert "none of the 1 articles" in said
    assert "库尔斯克" in said
    assert "take English articles" in said
    assert articles(tower) == 0


def test_what_comes_after_a_failed_job_waits_and_says_for_whom(tower, tmp_path):
    (tmp_path / "a.xml").write_text("no")
    bad = tower.add("corpus", source=tmp_path / "a.xml")
    after = tower.add("generate", "--after", bad)
    fails_alone(tower, bad)
    assert tower.shown(after)["waiting_for"] == f"job {bad}, which failed: `jobctl retry {bad}`"
    (tmp_path / "a.xml").write_bytes(dump(3))
    tower.ctl("retry", bad)
    tower.serve()
    assert [tower.job(bad).state, tower.job(after).state] == ["succeeded", "succeeded"]


# ── damaged on the disk ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a small pack and a model trained on it."""
    home = make_home(tmp_path_factory.mktemp("packed"), num_articles=20)
    run_kind(home, 900, "train", **TRAIN)
    return home


@pytest.fixture
def supplied(tower: Tower, packed: Path) -> Tower:
    """A tower with that pack and that model."""
    for name in ("packs", "tokenizers", "models"):
        shutil.copytree(packed / name, tower.path / name)
    return tower


def flip(path: Path) -> None:
    """One bit, in the middle: as a disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def half_trained(tower: Tower) -> tuple[int, list[Path]]:
    """A training paused in the middle: its id, and its checkpoints, newest first."""
    told = TRAIN | {"steps": 4000, "checkpoint_every": 20, "eval_every": 1000, "name": "long"}
    job = tower.add("train", **told)
    tower.start()
    folder = tower.home.workdir(job) / "checkpoint"
    until(lambda: len(checkpoint.saved(folder)) == 2, "two checkpoints")
    tower.ctl("pause", job)
    tower.until(job, "paused")
    tower.stop_jobd()
    found = checkpoint.saved(folder)
    assert len(found) == 2
    return job, found


def shorten(tower: Tower, job: int, steps: int) -> None:
    tower.ctl("edit", job, "--set", f"steps={steps}")


def test_a_training_with_a_damaged_newest_checkpoint_takes_the_one_before_and_says_so(supplied):
    tower = supplied
    job, (newest, before) = half_trained(tower)
    flip(newest / "model.safetensors")
    last = int(newest.name.removeprefix("step-")) + 40
    shorten(tower, job, last)
    tower.ctl("resume", job)
    tower.serve()
    assert tower.job(job).state == "succeeded"
    said = f"{newest.name}/model.safetensors is damaged: its bytes are not the ones that were written"
    assert f"{said}; the checkpoint before it is taken" in tower.ctl("show", job)
    assert (newest.parent / f"damaged-{newest.name}").is_dir()  # set aside, not thrown away
    assert before.name != newest.name
    assert any(entry.manifest["step"] == last for entry in archive.list_models(tower.path))


def test_a_training_with_no_whole_checkpoint_fails_and_does_not_begin_again_in_silence(supplied):
    tower = supplied
    job, found = half_trained(tower)
    for folder in found:
        flip(folder / "optimizer.safetensors")
    tower.ctl("resume", job)
    said = fails_alone(tower, job)
    assert "no checkpoint is whole" in said
    assert all(folder.name in said for folder in found)
    assert "To begin again from step 0, queue a new job" in said
    tower.ctl("retry", job)
    assert "To begin again from step 0, queue a new job" in fails_alone(tower, job)


def test_a_damaged_pack_fails_the_training_that_would_read_it(supplied):
    tower = supplied
    [shard] = sorted((tower.path / "packs" / "main").glob("train-*.safetensors"))[:1]
    shard.write_bytes(shard.read_bytes()[:-9])
    said = fails_alone(tower, tower.add("train", **TRAIN))
    assert shard.name in said
    assert "pack again" in said


def test_a_model_with_damaged_weights_answers_nobody(supplied):
    tower = supplied
    [model] = archive.list_models(tower.path)
    flip(model.folder / archive.WEIGHTS)
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(tower.path), "ask", model.name, "When?"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    sentence = f"{model.name}/{archive.WEIGHTS} is damaged: its bytes are not the ones that were kept"
    assert (asked.returncode, asked.stdout) == (1, "")
    assert sentence in asked.stderr
    assert "Traceback" not in asked.stderr
    job = tower.add("answer", model=model.name, questions="packs/main/questions.jsonl")
    assert sentence in fails_alone(tower, job)
    assert not files.is_complete(tower.path / "answers" / model.name)


def test_a_model_that_is_not_there_is_named_with_those_that_are(supplied):
    asked = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(supplied.path), "ask", "nobody", "When?"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 1
    assert "there is no model nobody: `jobctl models list` names them" in asked.stderr
