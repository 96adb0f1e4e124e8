"""What is written as packed contexts reads back the same, from a map, with every label where it belongs."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from datagen import files
from gpt.packer import Document, Row, arrays
from gpt.shards import IGNORE, MAX_OPEN, Context, DamagedPack, Pack, open_pack, read_arrays, write_arrays

CONTEXT_LEN, PAD = 24, 1


@st.composite
def documents(draw: st.DrawFn, dtype: Any = np.uint16) -> Document:
    tokens = draw(st.lists(st.integers(2, 60_000), min_size=2, max_size=8))
    start = draw(st.integers(1, len(tokens) - 1))
    return Document(draw(st.integers(1, 2**40)), np.array(tokens, dtype), start, draw(st.integers(start, len(tokens))))


ROWS = st.lists(st.lists(documents(), min_size=1, max_size=3), min_size=1, max_size=6)


def write_pack(folder: Path, shards: list[list[Row]], dtype: Any = np.uint16) -> Pack:
    """A pack of these train shards, and nothing for validation."""
    folder.mkdir(exist_ok=True)
    names = [f"train-{number:05d}.safetensors" for number in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        write_arrays(folder / name, arrays(rows, np.dtype(dtype)))
    hashes = {name: files.sha256(folder / name) for name in names}
    manifest = {"context_len": CONTEXT_LEN, "pad": PAD, "shards": {"train": names, "val": []}, "sha256": hashes}
    files.write_manifest(folder, manifest)
    return open_pack(folder)


def slow_context(row: Row) -> Context:
    """The definition: one document, one token at a time."""
    tokens, labels, bounds = [], [], [0]
    for document in row:
        for at, token in enumerate(document.tokens):
            tokens.append(int(token))
            next_gives_loss = document.loss_start <= at + 1 < document.loss_end
            labels.append(int(document.tokens[at + 1]) if next_gives_loss else IGNORE)
        bounds.append(len(tokens))
    num_tokens = len(tokens)
    if num_tokens < CONTEXT_LEN:
        bounds.append(CONTEXT_LEN)
    padding = CONTEXT_LEN - num_tokens
    parts = (tokens + [PAD] * padding, labels + [IGNORE] * padding, bounds)
    return Context(*(np.array(part, np.int32) for part in parts), num_tokens)


def assert_equal(read: Context, expected: Context) -> None:
    for name in ("tokens_T", "labels_T", "bounds"):
        assert getattr(read, name).tolist() == getattr(expected, name).tolist()
        assert getattr(read, name).dtype == np.int32
    assert read.num_tokens == expected.num_tokens


@given(shards=st.lists(ROWS, min_size=1, max_size=3))
def test_a_context_reads_back_as_its_slow_definition(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[Row]]
) -> None:
    pack = write_pack(tmp_path_factory.mktemp("pack"), shards)
    rows = [row for shard in shards for row in shard]
    assert pack.num_contexts("train") == len(rows)
    assert pack.num_contexts("val") == 0
    for index, row in enumerate(rows):
        assert_equal(pack.context("train", index), slow_context(row))
        assert pack.records("train", index).tolist() == [document.record for document in row]


@given(rows=ROWS, data=st.data())
def test_a_row_of_several_contexts_is_those_contexts_end_to_end(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], data: st.DataObject
) -> None:
    pack = write_pack(tmp_path_factory.mktemp("pack"), [rows])
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
    row, alone = pack.row("train", indices), [pack.context("train", index) for index in indices]
    assert row.tokens_T.tolist() == [token for context in alone for token in context.tokens_T]
    assert row.labels_T.tolist() == [label for context in alone for label in context.labels_T]
    assert row.positions_T.tolist() == [position for context in alone for position in context.positions_T]
    assert row.num_tokens == sum(context.num_tokens for context in alone)
    assert row.bounds[0] == 0
    assert row.bounds[-1] == len(indices) * CONTEXT_LEN
    assert (np.diff(row.bounds) > 0).all()


@given(rows=ROWS)
def test_positions_restart_with_every_document(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    context = write_pack(tmp_path_factory.mktemp("pack"), [rows]).context("train", 0)
    expected = [at for start, end in zip(context.bounds, context.bounds[1:], strict=False) for at in range(end - start)]
    assert context.positions_T.tolist() == expected


def test_token_ids_past_65_535_keep_their_value(tmp_path: Path) -> None:
    row = [Document(1, np.array([70_000, 2, 131_071], np.uint32), 1, 3)]
    context = write_pack(tmp_path, [[row]], np.uint32).context("train", 0)
    assert context.tokens_T[:3].tolist() == [70_000, 2, 131_071]
    assert context.labels_T[:3].tolist() == [2, 131_071, IGNORE]


def test_a_thousand_shards_are_read_in_any_order_with_few_files_open(tmp_path: Path) -> None:
    rows = [[Document(number, np.array([number + 2, 7], np.uint16), 1, 2)] for number in range(3)]
    write_pack(tmp_path, [[row] for row in rows])
    names = [f"train-{number:05d}.safetensors" for number in range(1000)]
    for number, name in enumerate(names[3:], 3):
        (tmp_path / name).hardlink_to(tmp_path / names[number % 3])
    manifest = files.read_manifest(tmp_path)
    files.write_manifest(tmp_path, manifest | {"shards": {"train": names, "val": []}})
    before = len(os.listdir("/proc/self/fd"))
    pack = open_pack(tmp_path)
    order = np.random.default_rng(0).permutation(1000).tolist()
    assert [pack.context("train", place).tokens_T[0] for place in order] == [place % 3 + 2 for place in order]
    assert len(os.listdir("/proc/self/fd")) - before <= MAX_OPEN < 1000


@pytest.fixture
def pack_folder(tmp_path: Path) -> Path:
    rows = [[Document(number, np.arange(2, 10, dtype=np.uint16), 3, 7)] for number in range(5)]
    write_pack(tmp_path / "pack", [rows[:3], rows[3:]])
    return tmp_path / "pack"


def test_a_shard_is_plain_safetensors_that_others_read_too(pack_folder: Path) -> None:
    path = pack_folder / "train-00000.safetensors"
    theirs, ours = load_file(path), read_arrays(path)
    assert set(theirs) == set(ours) == {"tokens", "documents", "contexts", "loss", "records"}
    for name, array in theirs.items():
        assert np.array_equal(array, ours[name]), name
        assert array.dtype == ours[name].dtype


@pytest.mark.parametrize("index", [-1, 5, 1000])
def test_a_context_that_is_not_there_is_an_index_error(pack_folder: Path, index: int) -> None:
    with pytest.raises(IndexError, match="there are 5"):
        open_pack(pack_folder).context("train", index)


def test_a_pack_that_is_not_finished_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run a pack job first"):
        open_pack(tmp_path)


def test_a_whole_pack_verifies_and_one_flipped_byte_does_not(pack_folder: Path) -> None:
    open_pack(pack_folder).verify()
    path = pack_folder / "train-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedPack, match=r"train-00001.*is not the file that was packed"):
        open_pack(pack_folder).verify()


def test_a_shard_that_is_gone_is_told_by_name(pack_folder: Path) -> None:
    (pack_folder / "train-00001.safetensors").unlink()
    with pytest.raises(DamagedPack, match=r"train-00001.safetensors is gone"):
        open_pack(pack_folder)


@pytest.mark.parametrize("keep", [0, 5, 8, 60, -1])
def test_a_shard_cut_anywhere_is_refused(pack_folder: Path, keep: int) -> None:
    path = pack_folder / "train-00000.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedPack, match="delete the pack, pack again"):
        open_pack(pack_folder)


def header(**changes: Any) -> bytes:
    entry = {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]} | changes
    text = json.dumps({"tokens": entry}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}",
        header(dtype="OBJECT"),
        header(shape=[3]),
        header(shape=[-1, -2]),
        header(shape="x"),
        header(data_offsets=[-16, 16]),
        header(data_offsets=[0]),
        header(),  # sound, but not the arrays of a shard
    ],
)
def test_a_file_made_to_deceive_is_refused(pack_folder: Path, content: bytes) -> None:
    (pack_folder / "train-00000.safetensors").write_bytes(content)
    with pytest.raises(DamagedPack):
        open_pack(pack_folder)


@pytest.mark.parametrize("change", [{"context_len": None}, {"shards": None}, {"shards": {"train": [], "val": 7}}])
def test_a_manifest_of_another_shape_is_refused(pack_folder: Path, change: dict[str, Any]) -> None:
    manifest = files.read_manifest(pack_folder) | change
    files.write_manifest(pack_folder, {name: value for name, value in manifest.items() if value is not None})
    with pytest.raises(DamagedPack):
        open_pack(pack_folder)


def test_a_manifest_cannot_lead_out_of_the_pack(pack_folder: Path) -> None:
    manifest = files.read_manifest(pack_folder)
    manifest["shards"]["train"] = ["../pack/train-00000.safetensors"]
    files.write_manifest(pack_folder, manifest)
    with pytest.raises(DamagedPack):
        open_pack(pack_folder)
