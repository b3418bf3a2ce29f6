"""Kept states as files: the format, what fits together, and the shelf; without llama.cpp."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.states import KEY, OTHER_KEY, files_of, payload_of, write

from corral.engine.params import LoadSpec
from corral.engine.states import files
from corral.engine.states.chains import TAIL, assemble, best, lacking, surplus
from corral.engine.states.files import Damaged, Segment, read_payload, read_segment
from corral.engine.states.keys import Maker, fingerprint
from corral.engine.states.rates import DiskRates, Measured

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


def payload(segment: Segment) -> bytes:
    buffer = bytearray(segment.payload)
    read_payload(segment, memoryview(buffer))
    return bytes(buffer)


def spell(token: int) -> bytes | None:
    """Tokens 10 and above are two of the others in one; 0 is a control token."""
    return (
        None if token == 0 else bytes([token]) if token < 10 else bytes([token % 10, token // 10])
    )


# --- one file -------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tokens = list(range(300, 340))
    written = write(tmp_path, tokens, 8)
    read = read_segment(written.path, KEY, "7")
    assert read.tokens == tokens[8:]
    assert (read.start, read.end, read.size) == (8, 40, written.path.stat().st_size)
    assert read.header == written.header
    assert payload(read) == payload_of(tokens[8:])


@POSIX
def test_only_the_person_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        segment = write(tmp_path / "kv", [1, 2, 3])
    finally:
        os.umask(before)
    assert stat.S_IMODE(segment.path.stat().st_mode) == 0o600
    for folder in (segment.path.parent, segment.path.parent.parent, tmp_path / "kv"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def sound(path: Path) -> bool:
    """Whether a file is taken for good, header and cells."""
    try:
        payload(read_segment(path, KEY, "7"))
    except Damaged:
        return False
    return True


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [5, 6, 7, 8, 9]).path
    data = path.read_bytes()
    assert sound(path)
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert not sound(path), size
    path.write_bytes(data + b"\0")
    assert not sound(path)


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, [5, 6, 7, 8, 9]).path
    data = path.read_bytes()
    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
            assert not sound(path), at


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_content_does_any_harm(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "0-5-0123456789abcdef.kv"
    for content in (data, files.MAGIC + data, files.MAGIC + struct.pack("<I", 1) + data):
        path.write_bytes(content)
        assert not sound(path)


def test_what_belongs_to_something_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [5, 6, 7]).path
    for model, conversation in ((OTHER_KEY, "7"), (KEY, "8")):
        with pytest.raises(Damaged):
            read_segment(path, model, conversation)
    moved = path.rename(path.with_name("0-4-0123456789abcdef.kv"))
    with pytest.raises(Damaged):
        read_segment(moved, KEY, "7")


def test_another_format_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "VERSION", files.VERSION + 1)
    path = write(tmp_path, [5, 6, 7]).path
    assert sound(path)
    monkeypatch.undo()
    with pytest.raises(Damaged, match="format"):
        read_segment(path, KEY, "7")


def test_a_folder_that_cannot_be_made_is_an_error_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("a file is in the way")
    with pytest.raises(OSError):
        write(tmp_path / "kv", [1, 2, 3])
    assert (tmp_path / "kv").read_text() == "a file is in the way"


# --- chains ---------------------------------------------------------------------------------------

LINES = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 200), LINES), min_size=1, max_size=8),
    st.integers(1, 24),
)
def test_every_sequence_that_was_written_is_found_whole(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, list[int]]], span: int
) -> None:
    """Turns, branches and edits: each begins with some part of the sequence before."""
    root = tmp_path_factory.mktemp("kv")
    tokens: list[int] = []
    written: list[list[int]] = []
    for keep, new in turns:
        tokens = tokens[: min(keep, len(tokens))] + new
        segments = [read_segment(path, KEY, "7") for path in files_of(root)]
        chains, useless = assemble(segments)
        assert not useless
        writing = lacking(chains, tokens, span, tail=1)
        for start, end in writing.spans:
            assert end - start <= span
            write(root, tokens[:end], start)
        for segment in writing.obsolete:
            segment.path.unlink()
        written.append(tokens)
    chains, useless = assemble([read_segment(path, KEY, "7") for path in files_of(root)])
    assert not useless
    for tokens in written:
        found = best(chains, tokens, spell)
        assert found is not None
        one, match = found
        assert match.taken == len(tokens)
        cells = b""
        for piece in one.cut(0, match.kept):
            size = 16
            whole = payload(piece.segment)
            cells += whole[
                (piece.start - piece.segment.start) * size : (piece.end - piece.segment.start)
                * size
            ]
        assert cells == payload_of(one.tokens[: match.kept])


def chains_of(root: Path) -> list[list[int]]:
    return [one.tokens for one in assemble(read_segment(p, KEY, "7") for p in files_of(root))[0]]


def test_small_turns_do_not_become_many_files(tmp_path: Path) -> None:
    tokens: list[int] = []
    written = 0
    for turn in range(64):
        tokens = tokens + [turn + 1] * TAIL
        chains, _ = assemble(read_segment(path, KEY, "7") for path in files_of(tmp_path))
        writing = lacking(chains, tokens, 4096)
        for start, end in writing.spans:
            write(tmp_path, tokens[:end], start)
            written += end - start
        for segment in writing.obsolete:
            segment.path.unlink()
    assert chains_of(tmp_path) == [tokens]
    assert len(files_of(tmp_path)) <= 7  # log2 of the turns
    assert written <= len(tokens) * 7


def test_a_short_tail_is_not_worth_a_file(tmp_path: Path) -> None:
    tokens = list(range(1, 1 + TAIL))
    assert lacking([], tokens[:-1], 100).spans == []
    write(tmp_path, tokens)
    chains, _ = assemble(read_segment(path, KEY, "7") for path in files_of(tmp_path))
    assert lacking(chains, tokens + [9] * (TAIL - 1), 100).spans == []
    assert lacking(chains, tokens + [9] * TAIL, 100).spans == [(0, 2 * TAIL)]


def test_the_ids_may_differ_where_the_text_is_the_same(tmp_path: Path) -> None:
    write(tmp_path, [1, 2, 3, 4, 5, 6])
    chains, _ = assemble(read_segment(path, KEY, "7") for path in files_of(tmp_path))
    found = best(chains, [1, 2, 43, 5, 7], spell)  # 43 spells 3 and 4.
    assert found is not None and tuple(found[1]) == (5, 4)


def test_without_its_beginning_a_file_is_useless(tmp_path: Path) -> None:
    tokens = list(range(1, 40))
    first = write(tmp_path, tokens[:20])
    second = write(tmp_path, tokens, 20)
    first.path.unlink()
    chains, useless = assemble([read_segment(second.path, KEY, "7")])
    assert chains == [] and [one.path for one in useless] == [second.path]
    assert best(chains, tokens, spell) is None


def test_what_a_killed_worker_wrote_twice_is_useless(tmp_path: Path) -> None:
    tokens = list(range(1, 40))
    small = write(tmp_path, tokens[:20])
    write(tmp_path, tokens)
    chains, useless = assemble(read_segment(path, KEY, "7") for path in files_of(tmp_path))
    assert [one.tokens for one in chains] == [tokens]
    assert [one.path for one in useless] == [small.path]


def test_old_branches_go_before_a_conversation_grows_for_ever(tmp_path: Path) -> None:
    system = [1] * 20
    for branch in range(2, 8):
        written = write(tmp_path, [*system, *[branch] * 30])
        os.utime(written.path, (branch * 1000, branch * 1000))
    now = [*system, *[4] * 30]
    chains, _ = assemble(read_segment(path, KEY, "7") for path in files_of(tmp_path))
    gone = {segment.tokens[-1] for segment in surplus(chains, now, 150)}
    assert gone == {2, 3, 5}
    assert surplus(chains, now, 300) == []
    assert {segment.tokens[-1] for segment in surplus(chains, now, 0)} == {2, 3, 5, 6, 7}


# --- keys -----------------------------------------------------------------------------------------


def test_another_content_is_another_model(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    data = bytearray(os.urandom(3 << 20))
    path.write_bytes(data)
    prints = {fingerprint(path)}
    assert prints == {fingerprint(path)}
    for at in (0, 1 << 19, len(data) - 1):
        changed = data.copy()
        changed[at] ^= 1
        path.write_bytes(changed)
        prints.add(fingerprint(path))
    path.write_bytes(os.urandom(len(data)))
    prints.add(fingerprint(path))
    path.write_bytes(data[:-1])
    prints.add(fingerprint(path))
    assert len(prints) == 6
    path.write_bytes(b"")
    assert len(fingerprint(path)) == 32


def test_every_shard_counts(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2))
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    before = fingerprint(first)
    second.write_bytes(b"TWO")
    assert fingerprint(first) != before
    second.unlink()
    with pytest.raises(FileNotFoundError):
        fingerprint(first)


def test_whatever_changes_the_cells_changes_the_key() -> None:
    def key(engine: str = "0.3.36", fingerprint: str = "a", **values: object) -> str:
        spec = LoadSpec.model_validate({"path": "/m.gguf", **values})
        return Maker.of(spec, fingerprint, n_layer=30, engine=engine).key

    keys = [
        key(),
        key(engine="0.3.37"),
        key(fingerprint="b"),
        key(type_k="q8_0"),
        key(type_v="q8_0"),
        key(flash_attn="off"),
        key(rope_freq_base=1e6),
        key(rope_freq_scale=0.5),
    ]
    assert len(set(keys)) == len(keys)
    assert key(path="/other.gguf", n_ctx=512, threads=2, n_batch=64, n_seq_max=3) == key()


# --- rates ----------------------------------------------------------------------------------------


def test_it_is_read_where_that_is_faster(tmp_path: Path) -> None:
    rates = DiskRates(tmp_path)
    for _ in range(20):
        rates.note("read", 100 << 20, 0.5)
    gpu, cpu = 1 / 5000, 1 / 20
    megabyte = 1 << 20
    assert rates.pays(500 * megabyte, 1000, cpu)
    assert not rates.pays(500 * megabyte, 1000, gpu)
    assert rates.pays(10 * megabyte, 1000, gpu)
    assert not rates.pays(1, 1, gpu)
    assert rates.pays(500 * megabyte, 1000, 0.0), "unknown"


def test_rates_are_kept_and_damage_does_no_harm(tmp_path: Path) -> None:
    rates = DiskRates(tmp_path / "kv")
    rates.save()
    assert not (tmp_path / "kv").exists(), "nothing was measured"
    for name in ("read", "write", "hand_over"):
        rates.note(name, 1 << 30, 1.0)
    rates.note("read", 10, 100.0)
    rates.save()
    assert DiskRates(tmp_path / "kv").now == rates.now
    assert rates.now.read > Measured().read
    for damage in (b"", b"{", b'{"read": -1}', b'{"read": 1e999}', b"\xff" * 5000):
        (tmp_path / "kv" / "rates.json").write_bytes(damage)
        assert DiskRates(tmp_path / "kv").now == Measured()
