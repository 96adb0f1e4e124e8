"""A checkpoint is whole or absent, whatever dies when; a damaged one is named, and the one before it is taken."""

import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datagen import files
from gpt import checkpoint
from gpt.checkpoint import KEPT, Checkpoint, Damaged, Writer, load_newest, save, saved
from gpt.train import train
from tests.gpt.tiny import config, make_pack


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


# ── behind the training's back ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def writer(tmp_path):
    told = []
    it = Writer(tmp_path, told.append)
    it.told = told
    yield it
    it.close()


def test_what_is_written_behind_is_what_the_tensors_were_when_it_began(tmp_path, writer, monkeypatch):
    may_go_on = threading.Event()
    monkeypatch.setattr(checkpoint, "save_file", waiting_for(may_go_on))
    given, expected = made(3), made(3)
    expected.groups["model"]["half"] = given.groups["model"]["half"].clone()
    writer.begin(given)
    for tensor in given.groups["model"].values():
        tensor.zero_()
    writer.look()  # does not wait: or we would stand here for ever
    assert saved(tmp_path) == []
    may_go_on.set()
    writer.finish()
    assert_same(load_newest(tmp_path), expected)
    assert writer.saved_step == 3


def waiting_for(event: threading.Event) -> Callable[..., None]:
    real = checkpoint.save_file

    def save_file(*args: object) -> None:
        assert event.wait(30)
        real(*args)

    return save_file


def test_the_next_write_waits_for_the_one_before_and_its_copy_does_not_reach_into_it(tmp_path, writer, monkeypatch):
    running, most = set(), []
    real = checkpoint.save

    def counting(root, one, pin_every):
        running.add(one.step)
        most.append(len(running))
        try:
            return real(root, one, pin_every)
        finally:
            running.remove(one.step)

    monkeypatch.setattr(checkpoint, "save", counting)
    given = [made(step) for step in (1, 2, 3)]
    for one in given:
        writer.begin(one)
    writer.finish()
    assert most == [1, 1, 1]
    assert [path.name for path in saved(tmp_path)] == ["step-0000003", "step-0000002"]
    assert_same(made_like(2, tmp_path), given[1])
    assert_same(made_like(3, tmp_path), given[2])


def test_an_error_behind_is_said_the_old_ones_stay_and_the_next_write_is_tried(tmp_path, writer, monkeypatch):
    writer.write(made(1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.files, "sync_file", full)
        writer.begin(made(2))
        writer.finish()
        with pytest.raises(OSError, match="No space left"):
            writer.write(made(3))
    assert writer.told == [
        "the checkpoint of step 2 could not be written ([Errno 28] No space left on device): the one of step 1 is "
        "kept, and the run goes on"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001"]
    writer.begin(made(4))
    writer.finish()
    assert writer.saved_step == 4
    assert len(writer.told) == 1


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_run_goes_on_when_a_checkpoint_could_not_be_written_and_ends_with_a_whole_one(tmp_path, monkeypatch):
    """The disk is full while step 5's is written, and has room again for step 10's."""
    pack, said, at = make_pack(tmp_path / "pack"), [], {"step": 0}
    real = files.sync_file
    monkeypatch.setattr(
        checkpoint.files, "sync_file", lambda path: full() if "step-0000005" in str(path) else real(path)
    )
    for step in train(config(pack, steps=12), tmp_path / "run", tell=said.append):
        at["step"] = step.number
    assert at["step"] == 12
    assert [path.name for path in saved(tmp_path / "run" / "checkpoint")] == ["step-0000012", "step-0000010"]
    assert len(said) == 1
    assert "the checkpoint of step 5 could not be written" in said[0]
    assert "none is there yet, and the run goes on" in said[0]


def test_at_the_end_a_full_disk_is_an_error_for_there_is_no_next_time(tmp_path, monkeypatch):
    pack = make_pack(tmp_path / "pack")
    monkeypatch.setattr(checkpoint.files, "sync_file", full)
    with pytest.raises(OSError, match="No space left"):
        list(train(config(pack, steps=5), tmp_path / "run", tell=lambda _: None))


def test_what_the_disk_really_refuses_is_an_oserror_whatever_the_library_calls_it(tmp_path):
    """safetensors has an exception of its own. Here the kernel lets no file grow past a limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(tmp_path, Checkpoint(1, {"model": {"w": torch.zeros(5000)}}, {"step": 1}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_write_behind_holds_the_training_for_a_part_of_what_a_write_takes(tmp_path):
    """Both in turn, in one run: what the step waits for is one copy in memory, not the disk and not the hashing."""
    big = {f"w{i}": torch.randn(1024, 1024) for i in range(10)}
    writer, behind, whole = Writer(tmp_path, print), [], []
    for step in range(1, 9, 2):
        started = time.monotonic()
        writer.begin(Checkpoint(step, {"model": big}, {"step": step}))
        behind.append(time.monotonic() - started)
        writer.finish()
        started = time.monotonic()
        writer.write(Checkpoint(step + 1, {"model": big}, {"step": step + 1}))
        whole.append(time.monotonic() - started)
    writer.close()
    assert min(behind[1:]) < min(whole) / 3  # the first one makes room in memory for the copies


def test_the_copies_of_the_first_checkpoint_go_where_room_was_made_while_the_first_steps_ran(tmp_path, writer):
    given = made(2)
    assert not writer.has_room
    writer.make_room(given)
    assert writer.has_room
    room = writer._room.result()
    writer.begin(given)
    for group, tensors in given.groups.items():
        for name, tensor in tensors.items():
            assert writer._copies[group][name] is room[group][name], "not taken anew"
            assert torch.equal(room[group][name], tensor)
    writer.finish()
    assert_same(load_newest(tmp_path), made_like(2, tmp_path))


def test_pinned_checkpoints_stay_beside_the_newest_two(tmp_path):
    pack = make_pack(tmp_path / "pack")
    list(train(config(pack, steps=13, checkpoint_every=3, pin_every=4), tmp_path / "run"))
    kept = [path.name for path in saved(tmp_path / "run" / "checkpoint")]
    assert kept == ["step-0000013", "step-0000012", "step-0000008", "step-0000004"]


def test_when_both_of_the_newest_are_damaged_a_pinned_one_is_taken(tmp_path):
    for step in range(1, 8):
        save(tmp_path, made(step), pin_every=4)
    assert [checkpoint.step_of(path) for path in saved(tmp_path)] == [7, 6, 4]
    for name in ("step-0000007", "step-0000006"):
        (tmp_path / name / "state.json").unlink()
    found = load_newest(tmp_path, lambda _: None)
    assert found is not None
    assert found.step == 4
