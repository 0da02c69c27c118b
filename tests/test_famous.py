"""Genotypes by name, with the sizes that their papers say."""

import json

import numpy as np
import pytest

from jaxnas.spaces import SPACES
from jaxnas.spaces.nds.famous import FAMOUS
from jaxnas.spaces.nds.genotype import to_call


@pytest.mark.parametrize(
    ("name", "space", "params", "published"),
    [  # on CIFAR-10 (36 channels, 20 cells) or ImageNet (48, 14): millions in the papers
        ("DARTS_V1", "darts", 3_169_414, None),
        ("DARTS_V2", "darts", 3_349_342, 3.3),
        ("PDARTS", "darts", 3_433_798, 3.4),
        ("PC_DARTS_cifar", "darts", 3_634_678, 3.6),
        ("PC_DARTS_image", "darts", 5_342_464, 5.3),
        ("DrNAS_cifar10", "darts", 4_099_294, 4.1),
        ("DrNAS_imagenet", "darts", 5_726_368, 5.7),
        ("TENAS_imagenet", "darts", 5_420_416, 5.4),
        ("NASNet", "nasnet", 3_830_950, 3.8),
        ("AmoebaNet", "amoeba", 3_145_078, None),
    ],
)
def test_famous_genotypes_have_their_published_sizes(name, space, params, published):
    arch = SPACES[space].encode(name)[None]
    found = {int(SPACES[space].on(dataset).params(arch)[0]) for dataset in ("cifar10", "imagenet")}
    assert params in found
    assert published in (None, round(params / 1e6, 1))


def test_famous_genotypes_by_other_spellings():
    assert len(FAMOUS) == 10
    darts = SPACES["darts"]
    for name in ("PCDARTS", "PC-DARTS-cifar", "pc_darts_cifar"):
        np.testing.assert_array_equal(darts.encode(name), darts.encode("PC_DARTS_cifar"))
    assert SPACES["nasnet"].genotype(SPACES["nasnet"].encode("NASNet")).reduce_concat == [4, 5, 6]
    assert SPACES["amoeba"].genotype(SPACES["amoeba"].encode("AmoebaNet")).reduce_concat == [3, 4, 6]


def test_weights_of_gdas_are_left_out_and_sizes_beside_a_call_are_kept():
    darts = SPACES["darts"]
    text = to_call(darts.genotype(darts.encode("DARTS_V2")))
    weighted = text.replace("('skip_connect', 0)", "('skip_connect', 0, 0.13017432391643524)")
    np.testing.assert_array_equal(darts.encode(weighted), darts.encode("DARTS_V2"))
    assert darts.encode(json.dumps({"width": 36, "depth": 20, "genotype": text}))[:2].tolist() == [36, 20]
