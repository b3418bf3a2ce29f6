"""The header of sound files, and the ways a path can be no file at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import gguf
import pytest
from tests.support.gguf_files import (
    LLAMA_70B,
    PLAIN_TEMPLATE,
    Gguf,
    array,
    f32,
    sparse_llama,
    spm_vocabulary,
    string,
    string_array,
    tiny_llama,
    u32,
)

from corral.errors import NotFound, Refused
from corral.models.gguf.header import read_header
from corral.models.gguf.types import FILE_TYPES, TENSOR_TYPES, VALUE_TYPES


def test_header_of_a_tiny_model(tiny: Path) -> None:
    header = read_header(tiny)
    assert (header.n_layer, header.n_embd, header.n_head, header.n_head_kv) == (2, 64, 4, 2)
    assert (header.head_dim_k, header.head_dim_v, header.n_ff) == (16, 16, 96)
    assert (header.version, header.architecture, header.quant) == (3, "llama", "Q8_0")
    assert header.name == "Tiny Llama"
    assert header.context_length == 512
    assert header.vocab_size == len(spm_vocabulary())
    assert header.bytes == tiny.stat().st_size
    assert header.tokenizer_model == "llama" and header.add_bos
    assert header.chat_template == PLAIN_TEMPLATE
    assert header.template_sha256 == hashlib.sha256(PLAIN_TEMPLATE.encode()).hexdigest()
    assert header.metadata["llama.block_count"] == 2
    assert not any(key.startswith("tokenizer.chat_template") for key in header.metadata)
    matrices = 2 * 64 * header.vocab_size + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
    assert header.parameters == matrices + 5 * 64
    assert header.tensor_bytes == matrices // 32 * 34 + 5 * 64 * 4


def test_header_of_the_starter(starter_file: Path) -> None:
    header = read_header(starter_file)
    assert (header.n_layer, header.n_embd, header.n_head, header.n_head_kv) == (30, 576, 9, 3)
    assert header.quant == "Q4_1"
    assert header.vocab_size == 49_152
    assert header.parameters == 134_515_008
    assert header.license == "apache-2.0"
    assert header.rope_freq_base == 100_000.0
    assert not header.add_bos


def test_the_nineteen_keys_of_2023_are_enough(sparse_7b: Path) -> None:
    header = read_header(sparse_7b)
    assert header.version == 2
    assert header.vocab_size == 32_000
    assert header.rope_freq_base == 10_000.0
    assert header.add_bos
    assert header.chat_template is None and header.template_sha256 is None
    assert header.quant == "Q4_K_M"
    assert header.parameters == 6_738_415_616
    assert sparse_7b.stat().st_blocks * 512 < 2_000_000


def test_grouped_query_attention_of_70b(tmp_path: Path) -> None:
    header = read_header(sparse_llama(tmp_path / "70b.gguf", LLAMA_70B, "Q2_K"))
    assert (header.n_head, header.n_head_kv, header.head_dim_k) == (64, 8, 128)
    assert header.parameters == 68_976_648_192


@pytest.mark.parametrize("type", ["F32", "F16", "Q8_0"])
def test_quant_falls_back_to_the_commonest_type(tmp_path: Path, type: str) -> None:
    path = tiny_llama(tmp_path / "tiny.gguf", type=type)
    assert read_header(path).quant == type
    file = Gguf.read(path)
    file.remove("general.file_type")
    assert read_header(file.write(path)).quant == type
    file.set("general.file_type", u32(1024 + 15))
    assert read_header(file.write(path)).quant == "Q4_K_M"


def test_heads_may_be_larger_than_their_share(edited: Gguf, tmp_path: Path) -> None:
    edited.set("llama.attention.key_length", u32(32))
    edited.set("llama.attention.value_length", u32(32))
    edited.set("llama.rope.dimension_count", u32(32))
    shapes = {b"attn_q": (64, 128), b"attn_k": (64, 64), b"attn_v": (64, 64)}
    for tensor in edited.tensors:
        part = tensor.name.split(b".")[-2]
        tensor.shape = shapes.get(part, (128, 64) if part == b"attn_output" else tensor.shape)
    header = read_header(edited.write_without_weights(tmp_path / "heads.gguf"))
    assert (header.head_dim_k, header.head_dim_v) == (32, 32)


def test_what_other_tools_add_is_no_reason_to_refuse(edited: Gguf, tmp_path: Path) -> None:
    edited.set("general.tags", string_array([b"llama", "größe".encode()]))
    edited.set("general.description", string("two\nlines\tand a tab"))
    edited.set("somebody.numbers", array(6, [b"\0\0\x80\x3f"] * 3))
    edited.set("tokenizer.ggml.padding_token_id", u32(0))
    edited.set("llama.rope.freq_base", f32(1_000_000.0))
    header = read_header(edited.write(tmp_path / "more.gguf"))
    assert header.rope_freq_base == 1_000_000.0
    assert header.metadata["general.description"] == "two\nlines\tand a tab"
    assert "general.tags" not in header.metadata


def test_a_wider_alignment_is_followed(edited: Gguf, tmp_path: Path) -> None:
    data, edited.data, at = edited.data, b"", 0
    edited.set("general.alignment", u32(256))
    ends = [tensor.offset for tensor in edited.tensors[1:]] + [len(data)]
    for tensor, end in zip(edited.tensors, ends, strict=True):
        piece = data[tensor.offset : end]
        tensor.offset = at
        edited.data += piece + b"\0" * (-len(piece) % 256)
        at = len(edited.data)
    path = tmp_path / "aligned.gguf"
    path.write_bytes(edited.to_bytes(256))
    assert read_header(path).n_layer == 2


def test_the_last_padding_may_be_missing(edited: Gguf, tmp_path: Path) -> None:
    last = edited.tensors[-1]
    length = last.shape[0] * last.shape[1] // 32 * 34
    assert length % 32
    path = tmp_path / "unpadded.gguf"
    full = edited.to_bytes()
    start = len(full) - len(edited.data)
    path.write_bytes(full[: start + last.offset + length])
    assert read_header(path).bytes == start + last.offset + length


def test_tables_equal_those_of_the_gguf_package() -> None:
    sizes = gguf.GGML_QUANT_SIZES
    assert {number: tuple(entry) for number, entry in TENSOR_TYPES.items()} == {
        int(kind): (kind.name, *sizes[kind]) for kind in gguf.GGMLQuantizationType
    }
    names = {int(kind): kind.name for kind in gguf.LlamaFileType if kind.name != "GUESSED"}
    assert {
        number: name.removeprefix("MOSTLY_").removeprefix("ALL_").removesuffix("_MOE")
        for number, name in names.items()
    } == FILE_TYPES
    assert VALUE_TYPES.keys() == {int(kind) for kind in gguf.GGUFValueType}


# --- G13: what is no file -----------------------------------------------------------------------

READ = """
import json, sys, time
from pathlib import Path
from corral.errors import CorralError
from corral.models.gguf.header import read_header
for name in sys.argv[1:]:
    start = time.monotonic()
    try:
        read_header(Path(name))
        outcome = "read"
    except CorralError as error:
        outcome = error.message
    print(json.dumps([outcome, time.monotonic() - start]), flush=True)
"""


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "pipe-link.gguf").symlink_to(tmp_path / "pipe.gguf")
    (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(tmp_path / "s"))
        names = ["pipe.gguf", "folder.gguf", "pipe-link.gguf", "loop.gguf", "s"]
        paths = [*(str(tmp_path / name) for name in names), "/dev/zero", "/dev/full"]
        done = subprocess.run(
            [sys.executable, "-c", READ, *paths],
            capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(paths)
    for (message, seconds), path in zip(outcomes, paths, strict=True):
        assert "folder, pipe or device" in message or "cannot be read" in message, path
        assert seconds < 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_path_that_is_not_unicode_is_refused(tiny: Path, tmp_path: Path) -> None:
    """llama.cpp takes names as UTF-8, and so does the worker that opens it."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/tiny\xff.gguf"))
    odd.symlink_to(tiny)
    with pytest.raises(Refused, match="not valid Unicode") as raised:
        read_header(odd)
    assert "other names" in raised.value.hint
    with pytest.raises(NotFound):
        read_header(odd.with_name("nothing\udcff.gguf"))
    good = tmp_path / "Łama 羊驼.gguf"
    good.symlink_to(odd)  # A link with a good name is good enough.
    assert read_header(good).n_layer == 2


def test_a_chosen_link_is_followed(tiny: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny)
    assert read_header(link).n_layer == 2


@pytest.mark.parametrize("name", ["nothing.gguf", "file/below.gguf", "with\0nul.gguf"])
def test_a_missing_file_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFound):
        read_header(tmp_path / name)


def test_an_unreadable_file_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("corral.models.gguf.header.os.open", forbidden)
    with pytest.raises(Refused, match="Permission denied"):
        read_header(tiny)


def test_a_failing_disk_is_said(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("corral.models.gguf.header.Reader.take", broken)
    with pytest.raises(Refused, match="Input/output error"):
        read_header(tiny)


# --- split models -------------------------------------------------------------------------------


def _split(edited: Gguf, folder: Path) -> list[Path]:
    """The model in two files, as llama-gguf-split makes them."""
    cut = len(edited.tensors) // 2
    edge = edited.tensors[cut].offset
    paths = [folder / f"tiny-{part:05d}-of-00002.gguf" for part in (1, 2)]
    second = Gguf(tensors=edited.tensors[cut:], data=edited.data[edge:])
    for tensor in second.tensors:
        tensor.offset -= edge
    edited.tensors, edited.data = edited.tensors[:cut], edited.data[:edge]
    for number, file in enumerate((edited, second)):
        file.set("split.no", number.to_bytes(2, "little").join([b"\2\0\0\0", b""]))
        file.set("split.count", b"\2\0\0\0\2\0")
        file.write(paths[number])
    return paths


def test_a_split_model_is_one_model(edited: Gguf, tiny: Path, tmp_path: Path) -> None:
    whole = read_header(tiny)
    first, second = _split(edited, tmp_path)
    header = read_header(first)
    assert header.split_count == 2
    assert header.parameters == whole.parameters
    assert header.tensor_bytes == whole.tensor_bytes
    assert header.bytes == first.stat().st_size + second.stat().st_size


def test_g15_a_missing_part_is_named(edited: Gguf, tmp_path: Path) -> None:
    first, second = _split(edited, tmp_path)
    second.unlink()
    with pytest.raises(Refused, match=re.escape(second.name)):
        read_header(first)


def test_parts_that_do_not_belong_together(edited: Gguf, tmp_path: Path) -> None:
    first, second = _split(edited, tmp_path)
    with pytest.raises(Refused, match="not the first of the model's 2 parts") as refused:
        read_header(second)
    assert first.name in refused.value.hint
    second.write_bytes(first.read_bytes())
    with pytest.raises(Refused, match="another part holds too"):
        read_header(first)
    renamed = first.rename(tmp_path / "model.gguf")
    with pytest.raises(Refused, match="its name does not say which"):
        read_header(renamed)


# --- G20: speed ---------------------------------------------------------------------------------


def _seconds(path: Path) -> float:
    """Processor time of the fastest of three readings: other programs' work does not count."""
    times = []
    for _ in range(3):
        start = time.process_time()
        read_header(path)
        times.append(time.process_time() - start)
    return min(times)


def test_g20_the_starter_is_read_fast(starter_file: Path) -> None:
    assert _seconds(starter_file) < 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_g20_a_vocabulary_of_150_000_tokens(edited: Gguf, tmp_path: Path) -> None:
    count = 150_000
    edited.set("tokenizer.ggml.model", string("gpt2"))
    edited.set("llama.vocab_size", u32(count))
    edited.set("tokenizer.ggml.tokens", string_array([b"token%d" % n for n in range(count)]))
    edited.set("tokenizer.ggml.merges", string_array([b"to ken%d" % n for n in range(count)]))
    edited.set("tokenizer.ggml.token_type", array(5, [b"\1\0\0\0"] * count))
    edited.remove("tokenizer.ggml.scores")
    for tensor in edited.tensors:
        if tensor.name in (b"token_embd.weight", b"output.weight"):
            tensor.shape = (64, count)
    path = edited.write_without_weights(tmp_path / "large.gguf")
    assert read_header(path).vocab_size == count
    code = (
        "import pathlib, sys, corral.models.gguf.header as gguf;"
        "gguf.read_header(pathlib.Path(sys.argv[1]));"
        # Not ru_maxrss: that begins with what the process was before it became this program.
        "lines = open('/proc/self/status').read().splitlines();"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
    assert int(done.stdout) < 300 * 1024  # KiB
    assert _seconds(path) < 2
