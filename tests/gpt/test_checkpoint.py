"""A checkpoint is whole or absent, whatever dies when; a damaged one is named, and the one before it is taken."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from datagen import files
from gpt import checkpoint
from gpt.checkpoint import KEPT, Checkpoint, Damaged, load_newest, save, saved


def made(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    model = {"w": torch.randn(5, 3, generator=generator), "half": torch.randn(4).to(torch.bfloat16)}
    optimizer = {"w|exp_avg": torch.randn(5, 3, generator=generator), "w|step": torch.tensor(float(step))}
    rng = {"cpu": generator.get_state()}
    return Checkpoint(
        step, {"model": model, "optimizer": optimizer, "rng": rng}, {"step": step, "tokens_seen": 7**step}
    )


def assert_same(one: Checkpoint | None, other: Checkpoint) -> None:
    assert one is not None
    assert one.state == other.state
    assert one.groups.keys() == other.groups.keys()
    for group, tensors in other.groups.items():
        assert one.groups[group].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert one.groups[group][name].dtype == tensor.dtype
            assert torch.equal(one.groups[group][name], tensor)


def test_what_was_saved_is_read_back_to_the_last_bit(tmp_path):
    expected = made(9)
    save(tmp_path, expected)
    assert_same(load_newest(tmp_path), expected)


def test_without_any_there_is_none(tmp_path):
    assert load_newest(tmp_path / "checkpoint") is None


def test_the_newest_two_are_kept(tmp_path):
    for step in (1, 2, 10, 11):
        save(tmp_path, made(step))
    assert [path.name for path in saved(tmp_path)] == ["step-0000011", "step-0000010"]
    assert len(list(tmp_path.iterdir())) == KEPT


def test_a_transposed_tensor_and_a_shared_one_read_back(tmp_path):
    wide = torch.arange(6.0).reshape(2, 3).t()
    save(tmp_path, Checkpoint(1, {"model": {"t": wide, "same": wide}}, {"step": 1}))
    read = load_newest(tmp_path)
    assert read is not None
    assert torch.equal(read.groups["model"]["t"], wide)
    assert torch.equal(read.groups["model"]["same"], wide)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_taken(tmp_path, name, damage):
    save(tmp_path, made(3))
    save(tmp_path, made(5))
    path, told = tmp_path / "step-0000005" / name, []
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flip" else content[:-1])
    assert_same(load_newest(tmp_path, told.append), made_like(3, tmp_path))
    assert f"step-0000005/{name} is damaged" in told[0]
    assert "the checkpoint before it is taken" in told[0]


def made_like(step: int, root: Path) -> Checkpoint:
    return checkpoint.load(root / f"step-{step:07d}")


def test_a_manifest_cut_off_counts_as_damage(tmp_path):
    save(tmp_path, made(3))
    save(tmp_path, made(5))
    manifest = tmp_path / "step-0000005" / files.MANIFEST
    manifest.write_text(manifest.read_text()[:-9])
    found = load_newest(tmp_path, told := [].append)
    assert told is not None
    assert found is not None
    assert found.step == 3


def test_a_damaged_one_is_set_aside_and_does_not_push_out_a_whole_one(tmp_path):
    save(tmp_path, made(3))
    save(tmp_path, made(9))
    (tmp_path / "step-0000009" / "state.json").write_text("{}")
    load_newest(tmp_path, lambda _: None)
    save(tmp_path, made(5))
    assert [path.name for path in saved(tmp_path)] == ["step-0000005", "step-0000003"]
    assert (tmp_path / "damaged-step-0000009").is_dir()


def test_when_none_is_whole_it_does_not_begin_again_in_silence(tmp_path):
    save(tmp_path, made(3))
    (tmp_path / "step-0000003" / "model.safetensors").write_bytes(b"")
    with pytest.raises(Damaged, match=r"no checkpoint is whole: step-0000003/model.safetensors is damaged.*new job"):
        load_newest(tmp_path, lambda _: None)


def test_a_full_disk_leaves_the_ones_before_and_nothing_of_the_new_one(tmp_path, monkeypatch):
    save(tmp_path, made(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.files, "sync_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, made(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001"]


def test_what_a_killed_writer_left_is_swept_by_the_next_save(tmp_path):
    (tmp_path / ".step-0000004.tmp").mkdir()
    (tmp_path / ".step-0000004.tmp" / "model.safetensors").write_bytes(b"torn")
    save(tmp_path, made(6))
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000006"]


class PowerCut(Exception):
    """The process is gone at this call."""


def test_dying_at_any_call_that_touches_the_disk_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    """Every fsync and rename of a save, in turn, is the last thing the process does."""
    calls = 0

    def dying(real, at):
        def call(*args, **how):
            nonlocal calls
            calls += 1
            if calls >= at:
                raise PowerCut
            return real(*args, **how)

        return call

    cuts = 0
    for at in range(1, 200):
        root, calls = tmp_path / str(at), 0
        save(root, made(1))
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", dying(shutil.rmtree, at))  # who is dead cleans up nothing
            for name in ("fsync", "rename", "replace"):
                patch.setattr(os, name, dying(getattr(os, name), at))
            try:
                save(root, made(2))
            except PowerCut:
                cuts += 1
            else:
                break
        found = load_newest(root, lambda _: None)
        assert found is not None
        assert_same(found, checkpoint.load(root / f"step-{found.step:07d}"))
        save(root, made(2))  # and the next attempt is not in the way of its remains
        assert saved(root)[0].name == "step-0000002"
    assert cuts > 8, "too few calls: this test would prove nothing"
    assert saved(tmp_path / str(at))[0].name == "step-0000002"
