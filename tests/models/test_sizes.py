"""Full sizes to the byte: the tensor arithmetic against the known sizes of real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.gguf_files import (
    LLAMA_7B,
    LLAMA_13B,
    LLAMA_70B,
    Shape,
    mix_bytes,
    sparse_llama,
)

from corral.models.catalog import Catalog
from corral.models.gguf.header import read_header

# Exact bytes of the hub's 7B and 13B chat files; those of 70B are computed from the same formula.
SIZES = {
    "Q2_K": (2_825_940_672, 5_429_348_224, 29_279_253_408),
    "Q3_K_S": (2_948_304_576, 5_658_980_224, 29_919_294_368),
    "Q3_K_M": (3_298_004_672, 6_337_769_344, 33_186_657_184),
    "Q3_K_L": (3_597_110_976, 6_929_559_424, 36_147_835_808),
    "Q4_0": (3_825_807_040, 7_365_834_624, 38_872_249_248),
    "Q4_K_S": (3_856_740_032, 7_414_331_264, 39_073_575_840),
    "Q4_K_M": (4_081_004_224, 7_865_956_224, 41_422_910_368),
    "Q5_0": (4_651_691_712, 8_972_285_824, 47_461_397_408),
    "Q5_K_S": (4_651_691_712, 8_972_285_824, 47_461_397_408),
    "Q5_K_M": (4_783_156_928, 9_229_924_224, 48_753_767_328),
    "Q6_K": (5_529_194_176, 10_679_140_224, 56_587_367_328),
    "Q8_0": (7_161_089_728, 13_831_319_424, 73_292_329_888),
}
MODELS = [(LLAMA_7B, 6_738_415_616), (LLAMA_13B, 13_015_864_320), (LLAMA_70B, 68_976_648_192)]


@pytest.mark.parametrize("quant", SIZES)
@pytest.mark.parametrize(("shape", "parameters"), MODELS, ids=["7B", "13B", "70B"])
def test_size_of_a_mix(shape: Shape, parameters: int, quant: str, tmp_path: Path) -> None:
    path = sparse_llama(tmp_path / "model.gguf", shape, quant)
    header = read_header(path)
    column = [model[0] for model in MODELS].index(shape)
    assert header.bytes == path.stat().st_size == mix_bytes(shape, quant) == SIZES[quant][column]
    assert header.parameters == parameters
    assert header.quant == quant
    # The header is all that is on the disk: 741,056 bytes for 7B, 745,344 for 13B.
    assert (
        header.bytes - header.tensor_bytes == {32: 741_056, 40: 745_344, 80: 766_880}[shape.n_layer]
    )
    assert path.stat().st_blocks * 512 < 1_000_000


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-2-13b", "llama-2-70b"])
@pytest.mark.parametrize("kind", ["", "-chat"])
def test_the_catalogue_agrees(catalog: Catalog, name: str, kind: str) -> None:
    family = catalog.families[name + kind]
    column = ["7B", "13B", "70B"].index(family.size)
    assert family.files
    for file in family.files:
        expected = SIZES[file.quant][column]
        assert file.has_size(expected), file.file
        if file.bytes is not None:
            assert file.bytes == expected


def test_every_llama_of_the_catalogue_has_the_size_of_its_shape(catalog: Catalog) -> None:
    context = LLAMA_7B.context
    checked = 0
    for family in catalog.families.values():
        shape = Shape(
            family.n_layer, family.n_embd, family.n_head, family.n_head_kv, family.n_ff, context
        )
        for file in family.files:
            if family.package:
                continue
            expected = mix_bytes(shape, file.quant, family.n_vocab)
            # TinyLlama's files are of 2024, with other mixes.
            allowed = expected / (50 if family.n_layer == 22 else 100)
            assert abs(file.gigabytes * 1e9 - expected) <= allowed, file.file
            checked += 1
    assert checked > 400
