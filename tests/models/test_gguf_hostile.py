"""Files that no sane writer makes: every one is refused in a sentence that names the cause."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.gguf_files import Gguf, TensorRecord, array, f32, string, string_array, u32

from corral.errors import CorralError, Refused
from corral.models.fit import memory
from corral.models.gguf.header import read_header

NAN = float("nan")
Edit = Callable[[Gguf], object]


def refusal(path: Path) -> Refused:
    """The refusal of a file, which has to be fit for a person to read."""
    with pytest.raises(Refused) as refused:
        read_header(path)
    error = refused.value
    for text in (error.title, error.message, error.hint):
        assert text and len(text) <= 300
        assert not any(unicodedata.category(character) == "Cc" for character in text)
    assert not error.message.endswith(".")
    return error


def _tokens(change: Callable[[list[bytes]], None]) -> Edit:
    """Changes the texts of the vocabulary."""

    def edit(file: Gguf) -> None:
        payload = dict(file.kv)[b"tokenizer.ggml.tokens"]
        (count,) = struct.unpack_from("<Q", payload, 8)
        at, texts = 16, []
        for _ in range(count):
            (length,) = struct.unpack_from("<Q", payload, at)
            texts.append(payload[at + 8 : at + 8 + length])
            at += 8 + length
        change(texts)
        file.set("tokenizer.ggml.tokens", string_array(texts))

    return edit


def _tensor(**changes: object) -> Edit:
    """Changes the record of the third tensor, an attention matrix."""

    def edit(file: Gguf) -> None:
        for name, value in changes.items():
            setattr(file.tensors[2], name, value)

    return edit


def _set(key: str, payload: bytes) -> Edit:
    return lambda file: file.set(key, payload)


def _put(texts: list[bytes], number: int, token: bytes) -> None:
    texts[number] = token


def _attribute(**changes: object) -> Edit:
    def edit(file: Gguf) -> None:
        for name, value in changes.items():
            setattr(file, name, value)

    return edit


INT32, FLOAT32 = 5, 6
EPSILON = "llama.attention.layer_norm_rms_epsilon"
TYPES = "tokenizer.ggml.token_type"
SCORES = "tokenizer.ggml.scores"

EDITS: dict[str, tuple[Edit, str]] = {
    # G06, G07 and the other ranges
    "no layers": (_set("llama.block_count", u32(0)), "llama.block_count is 0"),
    "513 layers": (_set("llama.block_count", u32(513)), "llama.block_count is 513"),
    "4 billion layers": (_set("llama.block_count", u32(0xFFFFFFFF)), "llama.block_count is"),
    "one layer too many": (_set("llama.block_count", u32(3)), "llama.block_count is 3"),
    "one layer too few": (_set("llama.block_count", u32(1)), "llama.block_count is 1"),
    "epsilon -1": (_set(EPSILON, f32(-1)), EPSILON),
    "epsilon NaN": (_set(EPSILON, f32(NAN)), f"{EPSILON} is nan"),
    "epsilon 0": (_set(EPSILON, f32(0)), EPSILON),
    "rope base 0": (_set("llama.rope.freq_base", f32(0)), "llama.rope.freq_base"),
    "rope base NaN": (_set("llama.rope.freq_base", f32(NAN)), "llama.rope.freq_base"),
    "rope base infinite": (_set("llama.rope.freq_base", f32(float("inf"))), "freq_base is inf"),
    "rope scale NaN": (_set("llama.rope.scaling.factor", f32(NAN)), "scaling.factor is nan"),
    "rope dimensions": (_set("llama.rope.dimension_count", u32(18)), "dimension_count is 18"),
    "no heads": (_set("llama.attention.head_count", u32(0)), "head_count is 0"),
    "2000 heads": (_set("llama.attention.head_count", u32(2000)), "head_count is 2000"),
    "5 heads": (_set("llama.attention.head_count", u32(5)), "head_count_kv is 2"),
    "3 kv heads": (_set("llama.attention.head_count_kv", u32(3)), "head_count_kv is 3"),
    "no kv heads": (_set("llama.attention.head_count_kv", u32(0)), "head_count_kv is 0"),
    "no embedding": (_set("llama.embedding_length", u32(0)), "embedding_length is 0"),
    "embedding 66": (_set("llama.embedding_length", u32(66)), "embedding_length is 66"),
    "embedding 128": (_set("llama.embedding_length", u32(128)), "dimension_count is 16"),
    "no feed-forward": (_set("llama.feed_forward_length", u32(0)), "feed_forward_length is 0"),
    "no context": (_set("llama.context_length", u32(0)), "context_length is 0"),
    "used experts": (_set("llama.expert_used_count", u32(2)), "expert_used_count is 2 of 0"),
    "600 experts": (_set("llama.expert_count", u32(600)), "llama.expert_count is 600"),
    "idle experts": (_set("llama.expert_count", u32(8)), "expert_used_count is 0 of 8"),
    "alignment 33": (_set("general.alignment", u32(33)), "general.alignment is 33"),
    "alignment 4": (_set("general.alignment", u32(4)), "general.alignment is 4"),
    "alignment 8192": (_set("general.alignment", u32(8192)), "general.alignment is 8192"),
    "alignment as text": (_set("general.alignment", string("32")), "general.alignment"),
    # types and required keys
    "layers as text": (_set("llama.block_count", string("2")), "llama.block_count is of type str"),
    "heads by layer": (
        _set("llama.attention.head_count", array(4, [b"\4\0\0\0"] * 2)),
        "head_count is of type array instead of uint32",
    ),
    "epsilon as whole": (_set(EPSILON, u32(1)), f"{EPSILON} is of type uint32"),
    "template as number": (_set("tokenizer.chat_template", u32(1)), "tokenizer.chat_template"),
    "layers missing": (lambda file: file.remove("llama.block_count"), "llama.block_count is miss"),
    "epsilon missing": (lambda file: file.remove(EPSILON), f"{EPSILON} is missing"),
    "kind missing": (lambda file: file.remove("general.architecture"), "general.architecture is"),
    "tokens missing": (lambda file: file.remove("tokenizer.ggml.tokens"), "tokens is missing"),
    "key twice": (lambda file: file.kv.append(file.kv[3]), "is empty or there twice"),
    "key empty": (lambda file: file.kv.append((b"", u32(1))), "is empty or there twice"),
    "key too long": (lambda file: file.kv.append((b"k" * 2000, u32(1))), "metadata key is 2000"),
    "bool of 2": (
        _set("tokenizer.ggml.add_bos_token", struct.pack("<IB", 7, 2)),
        "add_bos_token is 2",
    ),
    "bools of 3": (_set("x.flags", array(7, [b"\0\1\3"], 3)), "x.flags holds truth values"),
    # G08 and the rest of the vocabulary
    "token twice": (_tokens(lambda t: _put(t, 300, t[301])), "the same token twice"),
    "NUL in a token": (_tokens(lambda t: _put(t, 300, b"a\0b")), "token 300 .* NUL"),
    "empty token": (_tokens(lambda t: _put(t, 300, b"")), "token 300 .* is empty"),
    "token of 5 KB": (_tokens(lambda t: _put(t, 300, b"a" * 5000)), "a text in .*tokens is 5000"),
    "one token less": (_tokens(lambda t: t.__delitem__(-1)), "llama.vocab_size is 407.* 406"),
    "byte token lost": (_tokens(lambda t: _put(t, 50, b"<0xZZ>")), "needs a byte token"),
    "vocabulary size": (_set("llama.vocab_size", u32(5)), "llama.vocab_size is 5"),
    "tokens as numbers": (_set("tokenizer.ggml.tokens", array(4, [b"\0" * 4])), "holds no texts"),
    "no tokens": (_set("tokenizer.ggml.tokens", string_array([])), "holds no texts"),
    "type 7": (_set(TYPES, array(INT32, [b"\7\0\0\0"] * 407)), f"{TYPES} holds numbers"),
    "type -1": (_set(TYPES, array(INT32, [b"\xff" * 4] * 407)), f"{TYPES} holds numbers"),
    "types as unsigned": (_set(TYPES, array(4, [b"\1\0\0\0"] * 407)), f"{TYPES} holds 407"),
    "types too few": (_set(TYPES, array(INT32, [b"\1\0\0\0"] * 406)), f"{TYPES} holds 406"),
    "types missing": (lambda file: file.remove(TYPES), f"needs {TYPES}"),
    "scores missing": (lambda file: file.remove(SCORES), f"needs {SCORES}"),
    "scores NaN": (_set(SCORES, array(FLOAT32, [b"\xff" * 4] * 407)), f"{SCORES} holds values"),
    "scores too many": (_set(SCORES, array(FLOAT32, [b"\0" * 4] * 408)), f"{SCORES} holds 408"),
    "no merges": (_set("tokenizer.ggml.model", string("gpt2")), "needs tokenizer.ggml.merges"),
    "merge alone": (_set("tokenizer.ggml.merges", string_array([b"a b", b"ab"])), "not a pair"),
    "merge of one": (_set("tokenizer.ggml.merges", string_array([b"ab "])), "not a pair"),
    "bos outside": (_set("tokenizer.ggml.bos_token_id", u32(407)), "bos_token_id is 407"),
    "eot outside": (_set("tokenizer.ggml.eot_token_id", u32(1 << 31)), "eot_token_id is 2147"),
    # G09 and other text
    "UTF-8 in a key": (lambda file: file.kv.append((b"x.\xff", u32(1))), "key is not valid UTF-8"),
    "UTF-8 in the name": (_set("general.name", string(b"\xc3(")), "general.name is not valid"),
    "UTF-8 in the template": (
        _set("tokenizer.chat_template", string(b"{{ \xed\xa0\x80 }}")),
        "tokenizer.chat_template is not valid UTF-8",
    ),
    "UTF-8 in a token": (_tokens(lambda t: _put(t, 300, b"\xe2\x96")), "tokens is not valid"),
    "UTF-8 in an array": (_set("general.tags", string_array([b"\xff"])), "tags is not valid"),
    "ESC in the name": (_set("general.name", string("\x1b]0;x")), "name holds control"),
    "C1 in the name": (_set("general.name", string("\x9b31m")), "name holds control"),
    "NUL in the name": (_set("general.name", string("a\0b")), "name holds control"),
    "ESC in a key": (lambda file: file.kv.append((b"x\x1b[31m", u32(1))), "key holds control"),
    "ESC in an array": (_set("general.tags", string_array([b"\x1b"])), "tags holds control"),
    "template of 300 KB": (
        _set("tokenizer.chat_template", string("a" * 300_000)),
        "tokenizer.chat_template is 300000 bytes long",
    ),
    "name of 2 MB": (_set("general.name", string("a" * 2_000_000)), "general.name is 2000000"),
    # G10: lengths without bodies
    "string of 2^63": (_set("x.y", struct.pack("<IQ", 8, 1 << 63)), "x.y is 9223372036854775808"),
    "array of 2^63": (_set("x.y", array(4, [], 1 << 63)), "x.y claims 9223372036854775808"),
    "array of 2^30": (_set("x.y", array(6, [], 1 << 30)), "x.y claims 1073741824"),
    "array of 2^20": (_set("x.y", array(12, [], 1 << 20)), "x.y claims 1048576"),
    "2^20 texts": (_set("x.y", array(8, [], 1 << 20)), "x.y claims 1048576"),
    "nested array": (_set("x.y", array(9, [], 1)), "x.y is an array of arrays"),
    "value type 99": (_set("x.y", struct.pack("<I", 99)), "x.y has the unknown value type 99"),
    "array of type 99": (_set("x.y", array(99, [], 1)), "x.y holds the unknown value type 99"),
    "5000 keys": (_attribute(kv_count=5000), "claims 5000 metadata keys"),
    "2^64 keys": (_attribute(kv_count=(1 << 64) - 1), "claims 18446744073709551615 metadata"),
    "no keys": (_attribute(kv_count=0), "claims 0 metadata keys"),
    "too many keys": (_attribute(kv_count=100), "metadata key|middle of its header|unknown"),
    "70,000 tensors": (_attribute(tensor_count=70_000), "claims 70000 tensors"),
    "2^64 tensors": (_attribute(tensor_count=(1 << 64) - 1), "claims 18446744073709551615 ten"),
    "no tensors": (_attribute(tensor_count=0), "holds no weights"),
    # G11
    "dimension 0": (_tensor(shape=(0, 64)), "“blk.0.attn_q.weight” has an impossible dim"),
    "dimension -1": (_tensor(shape=((1 << 64) - 1, 64)), "“blk.0.attn_q.weight” has an imp"),
    "dimension 2^62": (_tensor(shape=(1 << 62, 64)), "“blk.0.attn_q.weight” has an impossible"),
    "product 2^60": (_tensor(shape=(1 << 40, 1 << 20)), "has an impossible size"),
    "five dimensions": (_tensor(shape=(1, 1, 1, 1, 1)), "has 5 dimensions"),
    "no dimensions": (_tensor(shape=()), "has 0 dimensions"),
    "type 255": (_tensor(type=255), "“blk.0.attn_q.weight” has the unknown type 255"),
    "type 4": (_tensor(type=4), "“blk.0.attn_q.weight” has the unknown type 4"),
    "row of 48": (_tensor(shape=(48, 64)), "rows of 48, Q8_0 needs a multiple of 32"),
    "offset 7": (_tensor(offset=7), "“blk.0.attn_q.weight” lies at 7"),
    "offset 2^63": (_tensor(offset=1 << 63), "“blk.0.attn_q.weight” lies at 9223372036854775808"),
    "overlap": (lambda file: setattr(file.tensors[2], "offset", 0), "attn_q.weight” lies at 0"),
    "tensor twice": (_tensor(name=b"blk.0.attn_norm.weight"), "attn_norm.weight” has no name or"),
    "name of 64 bytes": (_tensor(name=b"n" * 64), "name of a tensor is 64 bytes long"),
    "tensor name of 2 MB": (_tensor(name=b"n" * 2_000_000), "name of a tensor is 2000000"),
    "no tensor name": (_tensor(name=b""), "has no name or is there twice"),
    "ESC in a tensor name": (_tensor(name=b"\x1b[2J"), "name of a tensor holds control"),
    "embedding renamed": (
        lambda file: setattr(file.tensors[0], "name", b"token_embd.w"),
        "token_embd.weight is missing",
    ),
    "layer part renamed": (_tensor(name=b"blk.0.attn_x.weight"), "blk.0.attn_q.weight is missing"),
    "layer part reshaped": (_tensor(shape=(32, 128)), "blk.0.attn_q.weight is 32 × 128"),
    "embedding reshaped": (
        lambda file: setattr(file.tensors[0], "shape", (407, 64)),
        "rows of 407",
    ),
    # G12
    "weights cut off": (lambda file: setattr(file, "data", file.data[:-5000]), "it has only"),
    "no weights at all": (_attribute(data=b""), "it has only"),
    "1 MB behind": (lambda file: setattr(file, "data", file.data + b"x" * (1 << 20)), "1048576 b"),
    # G13, what is inside the file
    "version 1": (_attribute(version=1), "version is 1"),
    "version 4": (_attribute(version=4), "version is 4"),
    "big-endian": (_attribute(version=3 << 24), "big-endian"),
    "magic GGML": (_attribute(magic=b"GGML"), "not a GGUF file"),
    "magic ggjt": (_attribute(magic=b"tjgg"), "GGML file from before August 2023"),
    # G14, G24
    "mamba": (_set("general.architecture", string("mamba")), "“mamba” is not supported"),
    "unknown": (_set("general.architecture", string("x" * 900)), "x…” is not supported"),
    "clip": (_set("general.architecture", string("clip")), "not a chat model"),
    "no tokenizer": (_set("tokenizer.ggml.model", string("none")), "“none” is not supported"),
    "no_vocab": (_set("tokenizer.ggml.model", string("no_vocab")), "“no_vocab” is not supp"),
    "plamo2": (_set("tokenizer.ggml.model", string("plamo2")), "“plamo2” is not supported"),
    "adapter": (_set("general.type", string("adapter")), "adapter .* not a chat model"),
    "adapter by key": (_set("adapter.type", string("lora")), "adapter .* not a chat model"),
    "image part": (_set("general.type", string("mmproj")), "mmproj.* not a chat model"),
    "image part by key": (_set("clip.has_vision_encoder", u32(1)), "clip.* not a chat model"),
    # G15
    "split": (_set("split.count", b"\2\0\0\0\2\0"), "one of 2 parts"),
}


@pytest.mark.parametrize("name", EDITS)
def test_hostile_header_is_refused(name: str, edited: Gguf, tmp_path: Path) -> None:
    edit, expected = EDITS[name]
    edit(edited)
    error = refusal(edited.write(tmp_path / "edited.gguf"))
    assert re.search(expected, error.message), error.message


def test_the_file_that_is_edited_is_sound(edited: Gguf, tmp_path: Path) -> None:
    assert read_header(edited.write(tmp_path / "same.gguf")).n_layer == 2


def test_names_from_the_file_are_shown_cleaned(edited: Gguf, tmp_path: Path) -> None:
    edited.tensors.append(TensorRecord("\u202egnp.exe".encode(), (0,), 0, 0))
    error = refusal(edited.write(tmp_path / "bidi\u202e.gguf"))
    assert "\u202e" not in error.message and "gnp.exe" in error.message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "only 0 bytes"),
        (b"GGUF", "only 4 bytes"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not a GGUF file"),
        (b"GGUF\3\0\0\0" + b"\1" + b"\0" * 7 + b"\1" + b"\0" * 7, "middle of its header"),
        (b"\0" * 1000, "not a GGUF file"),
    ],
)
def test_g13_other_contents_are_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    assert expected in refusal(path).message


def test_g01_every_cut_is_noticed(tiny: Path) -> None:
    size = tiny.stat().st_size
    # From the back, so that one copy serves for all.
    for cut in sorted({size * point // 32 for point in range(32)} | {size - 5}, reverse=True):
        os.truncate(tiny, cut)
        refusal(tiny)


def test_g22_a_boundless_context_is_capped(edited: Gguf, tmp_path: Path) -> None:
    edited.set("llama.context_length", u32(0xFFFFFFFF))
    header = read_header(edited.write(tmp_path / "endless.gguf"))
    assert memory.context_for(header, 0) == 4096
    with pytest.raises(CorralError, match="more than the"):
        memory.context_for(header, 0xFFFFFFF0)


MEASURE = """
import json, resource, sys, time
from pathlib import Path
from corral.errors import Refused
from corral.models.gguf.header import read_header
read_header(Path(sys.argv[1]))
for name in sys.argv[2:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        read_header(Path(name))
    except Refused as error:
        seconds = time.process_time() - start
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([name, seconds, grown * 1024, error.message]))
"""


def test_g10_false_lengths_cost_nothing(edited: Gguf, tiny: Path, tmp_path: Path) -> None:
    payloads = {
        "string": struct.pack("<IQ", 8, 1 << 63),
        "string-that-fits": struct.pack("<IQ", 8, 1 << 30),
        "array": array(4, [], 1 << 63),
        "array-that-fits": array(4, [], 1 << 30),
        "texts-that-fit": array(8, [], 1 << 30),
        "a-million-empty-texts": array(8, [], 1 << 20),
        "nested": array(9, [], 1 << 40),
    }
    paths = []
    for name, payload in payloads.items():
        file = Gguf(kv=[*edited.kv[:4], (b"x.y", payload)], tensors=edited.tensors)
        path = file.write(tmp_path / f"{name}.gguf")
        # A hole of 40 GB: whatever the header claims, the file is large enough for it.
        os.truncate(path, 40_000_000_000)
        assert path.stat().st_blocks * 512 < 1_000_000
        paths.append(path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tiny), *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(payloads)
    for name, seconds, grown, message in results:
        assert seconds < 0.5, (name, message)
        assert grown < 50 * 1024 * 1024, (name, message)
