"""Kept models: whole or absent, checked when read, named by facts."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from datagen import files
from gpt import archive, source
from gpt.archive import DamagedModel, check_name, short_count, snapshot_name
from gpt.attention import Documents
from gpt.config import BadConfig
from gpt.model import GPT
from gpt.tokenizer import Tokenizer
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer
from tests.gpt.small_factory import make_factory
from tests.gpt.tiny import shape

FACTS = {
    "kind": "snapshot",
    "parent": None,
    "run": 7,
    "pack": "packs/x",
    "step": 40,
    "tokens_seen": 900,
    "val_loss": 3.25,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    home = tmp_path_factory.mktemp("tokenizer")
    with source.opened(make_factory(home / "factory.db", 30)) as db:
        make_tokenizer(db, home / "made", home, TokenizerConfig(800))
    return Tokenizer.load(home / "made")


@pytest.fixture
def kept(tmp_path: Path, trained: Tokenizer) -> tuple[Path, GPT]:
    """A home with one model in it, and that model."""
    gpt = GPT(shape(pos="rope", n_kv_head=1, vocab_size=trained.vocab_size), seed=4)
    folder = tmp_path / "models" / snapshot_name("demo", 40, 900, 3.25)
    archive.write_model(folder, gpt.state_dict(), gpt.config, trained.model_bytes, FACTS, note="quick_and_sucks")
    return folder, gpt


def test_a_kept_model_answers_as_it_did(kept, trained):
    folder, gpt = kept
    again, tokenizer = archive.load_model(folder)
    tokens, docs = torch.arange(20), Documents.of([0, 20])
    assert torch.equal(again(tokens, docs), gpt.eval()(tokens, docs))
    assert again.config == gpt.config
    assert tokenizer.sha256 == trained.sha256


def test_its_untrained_twin_has_the_shape_and_not_the_weights(kept):
    folder, gpt = kept
    twin, _ = archive.load_model(folder, untrained=True)
    assert twin.config == gpt.config
    assert not torch.equal(twin.wte.weight, gpt.wte.weight)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model"])
def test_a_damaged_file_is_named_and_not_loaded(kept, name):
    path = kept[0] / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedModel, match=f"{name} is damaged"):
        archive.read_model(kept[0])


def test_a_model_half_written_is_not_there_and_is_written_again(kept, trained, tmp_path):
    folder, gpt = kept
    (folder / files.MANIFEST).unlink()
    (folder / "model.safetensors").write_bytes(b"torn")
    assert archive.list_models(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="there is no model"):
        archive.read_model(folder)
    archive.write_model(folder, gpt.state_dict(), gpt.config, trained.model_bytes, FACTS)
    assert torch.equal(archive.read_model(folder)[1]["wte.weight"], gpt.wte.weight)


@pytest.mark.parametrize("room", [4096, 100], ids=["for all but the weights", "for nothing"])
def test_a_model_that_the_disk_has_no_room_for_leaves_nothing_there(kept, trained, tmp_path, room):
    folder, gpt = kept
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, usual[1]))
    try:
        with pytest.raises((OSError, SafetensorError)):
            archive.write_model(tmp_path / "full", gpt.state_dict(), gpt.config, trained.model_bytes, FACTS)
        with pytest.raises(OSError, match="File too large"):
            archive.export(folder, tmp_path / "kept", "n" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not (tmp_path / "full").exists()
    assert not (tmp_path / "kept").exists()


def test_a_kept_model_is_never_written_again(kept, trained):
    folder, gpt = kept
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    archive.write_model(folder, GPT(gpt.config, seed=5).state_dict(), gpt.config, trained.model_bytes, FACTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_only_its_note_may_change_and_it_stays_whole(kept, tmp_path):
    folder, _ = kept
    archive.write_note(folder, "  better than it looks\n")
    [entry] = archive.list_models(tmp_path)
    assert entry.note == "better than it looks"
    archive.verify(folder)


def test_an_export_names_its_parent_shares_its_weights_and_outlives_it(kept, tmp_path):
    folder, gpt = kept
    other = tmp_path / "models" / "ww2-small-v1"
    archive.export(folder, other, "for the tower")
    entry = archive.entry(other)
    assert (entry.manifest["kind"], entry.manifest["parent"]) == ("export", folder.name)
    assert (entry.manifest["step"], entry.note) == (40, "for the tower")
    assert os.path.samefile(folder / archive.WEIGHTS, other / archive.WEIGHTS)
    for path in folder.iterdir():
        path.unlink()
    assert torch.equal(archive.read_model(other)[1]["wte.weight"], gpt.wte.weight)


def test_models_are_listed_oldest_first(kept, trained, tmp_path):
    folder, gpt = kept
    archive.write_model(tmp_path / "models" / "a", gpt.state_dict(), gpt.config, trained.model_bytes, FACTS)
    assert [entry.name for entry in archive.list_models(tmp_path)] == [folder.name, "a"]
    assert archive.list_models(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "Expecting"), ("[]", "JSON object"), ('{"kind": "snapshot"}', "it lacks config"), ("\xff", "")],
)
def test_a_damaged_manifest_is_named_and_hides_no_other_model(kept, trained, tmp_path, content, says):
    folder, gpt = kept
    archive.write_model(tmp_path / "models" / "a", gpt.state_dict(), gpt.config, trained.model_bytes, FACTS)
    (tmp_path / "models/a" / files.MANIFEST).write_text(content, encoding="latin-1")
    [entry], [sentence] = archive.survey(tmp_path)
    assert (entry.name, sentence.startswith("a/manifest.json is damaged: "), says in sentence) == (
        folder.name,
        True,
        True,
    )
    with pytest.raises(DamagedModel, match=r"manifest\.json is damaged"):
        archive.read_model(tmp_path / "models/a")
    assert archive.place(tmp_path / "models", "a", 7).name == "a_job7", "what is damaged is not written over"


def test_a_note_in_another_encoding_can_be_read(kept):
    folder, _ = kept
    (folder / archive.NOTE).write_bytes(b"gut f\xfcr Fragen\n")
    assert archive.entry(folder).note == "gut f\ufffdr Fragen"


@pytest.mark.parametrize("name", ["best", "demo-final", "demo_BEST_2", "final.v2", "my-best"])
def test_an_opinion_is_no_name(name):
    with pytest.raises(BadConfig, match="tomorrow's model makes a lie"):
        check_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "a b", "a\nb", "x" * 129, "-x"])
def test_what_is_no_folders_name_is_refused(name):
    with pytest.raises(BadConfig, match="take letters, digits"):
        check_name(name)


@given(st.integers(0, 10**7), st.integers(0, 10**12), st.none() | st.floats(0, 99))
def test_a_snapshots_name_is_always_one_a_model_may_have(step, tokens, val_loss):
    check_name(snapshot_name("bestiary-finale", step, tokens, val_loss))


def test_counts_read_short():
    assert [short_count(n) for n in (7, 1234, 1_234_567, 5_000_000_000)] == ["7", "1.2k", "1.2M", "5.0B"]


def test_listing_models_needs_no_heavy_library():
    code = "import sys, gpt.archive, pathlib; gpt.archive.list_models(pathlib.Path('.')); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
