"""Genotypes that are known by a name: those of DARTS's code and of the codes that follow it.

Left out are those whose published transcriptions contradict each other (SNAS, GDAS_V1), concatenate nodes that are
used (ENASNet) or have other sizes than their paper says (TENAS_cifar10), and `DARTS`, which was V1 before it was V2.
"""

import re

from jaxnas.errors import unknown

FAMOUS = {  # (op:source of the normal cell, of the reduction cell), two for each node
    "DARTS_V1": (
        "sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:0 sep_conv_3x3:1 "
        "skip_connect:0 sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:2",
        "max_pool_3x3:0 max_pool_3x3:1 skip_connect:2 max_pool_3x3:0 "
        "max_pool_3x3:0 skip_connect:2 skip_connect:2 avg_pool_3x3:0",
    ),
    "DARTS_V2": (
        "sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_3x3:0 sep_conv_3x3:1 "
        "sep_conv_3x3:1 skip_connect:0 skip_connect:0 dil_conv_3x3:2",
        "max_pool_3x3:0 max_pool_3x3:1 skip_connect:2 max_pool_3x3:1 "
        "max_pool_3x3:0 skip_connect:2 skip_connect:2 max_pool_3x3:1",
    ),
    "PDARTS": (
        "skip_connect:0 dil_conv_3x3:1 skip_connect:0 sep_conv_3x3:1 "
        "sep_conv_3x3:1 sep_conv_3x3:3 sep_conv_3x3:0 dil_conv_5x5:4",
        "avg_pool_3x3:0 sep_conv_5x5:1 sep_conv_3x3:0 dil_conv_5x5:2 "
        "max_pool_3x3:0 dil_conv_3x3:1 dil_conv_3x3:1 dil_conv_5x5:3",
    ),
    "PC_DARTS_cifar": (
        "sep_conv_3x3:1 skip_connect:0 sep_conv_3x3:0 dil_conv_3x3:1 "
        "sep_conv_5x5:0 sep_conv_3x3:1 avg_pool_3x3:0 dil_conv_3x3:1",
        "sep_conv_5x5:1 max_pool_3x3:0 sep_conv_5x5:1 sep_conv_5x5:2 "
        "sep_conv_3x3:0 sep_conv_3x3:3 sep_conv_3x3:1 sep_conv_3x3:2",
    ),
    "PC_DARTS_image": (
        "skip_connect:1 sep_conv_3x3:0 sep_conv_3x3:0 skip_connect:1 "
        "sep_conv_3x3:1 sep_conv_3x3:3 sep_conv_3x3:1 dil_conv_5x5:4",
        "sep_conv_3x3:0 skip_connect:1 dil_conv_5x5:2 max_pool_3x3:1 "
        "sep_conv_3x3:2 sep_conv_3x3:1 sep_conv_5x5:0 sep_conv_3x3:3",
    ),
    "DrNAS_cifar10": (
        "sep_conv_3x3:0 sep_conv_5x5:1 sep_conv_3x3:1 sep_conv_3x3:2 "
        "skip_connect:0 sep_conv_3x3:1 sep_conv_3x3:2 dil_conv_5x5:3",
        "max_pool_3x3:0 sep_conv_5x5:1 dil_conv_5x5:2 sep_conv_5x5:1 "
        "sep_conv_5x5:1 dil_conv_5x5:3 skip_connect:4 sep_conv_5x5:1",
    ),
    "DrNAS_imagenet": (
        "sep_conv_3x3:1 sep_conv_3x3:0 sep_conv_3x3:0 sep_conv_3x3:1 "
        "sep_conv_3x3:0 dil_conv_3x3:3 skip_connect:0 sep_conv_3x3:1",
        "max_pool_3x3:0 sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:2 "
        "sep_conv_3x3:0 sep_conv_3x3:2 sep_conv_3x3:3 sep_conv_3x3:1",
    ),
    "TENAS_imagenet": (
        "sep_conv_3x3:0 skip_connect:1 dil_conv_5x5:1 sep_conv_3x3:2 "
        "sep_conv_3x3:0 dil_conv_5x5:3 sep_conv_3x3:0 dil_conv_3x3:4",
        "dil_conv_3x3:0 sep_conv_5x5:1 dil_conv_3x3:0 sep_conv_3x3:2 "
        "sep_conv_3x3:0 dil_conv_3x3:1 sep_conv_3x3:0 sep_conv_5x5:4",
    ),
    "NASNet": (
        "sep_conv_5x5:1 sep_conv_3x3:0 sep_conv_5x5:0 sep_conv_3x3:0 avg_pool_3x3:1 "
        "skip_connect:0 avg_pool_3x3:0 avg_pool_3x3:0 sep_conv_3x3:1 skip_connect:1",
        "sep_conv_5x5:1 sep_conv_7x7:0 max_pool_3x3:1 sep_conv_7x7:0 avg_pool_3x3:1 "
        "sep_conv_5x5:0 skip_connect:3 avg_pool_3x3:2 sep_conv_3x3:2 max_pool_3x3:1",
    ),
    "AmoebaNet": (
        "avg_pool_3x3:0 max_pool_3x3:1 sep_conv_3x3:0 sep_conv_5x5:2 sep_conv_3x3:0 "
        "avg_pool_3x3:3 sep_conv_3x3:1 skip_connect:1 skip_connect:0 avg_pool_3x3:1",
        "avg_pool_3x3:0 sep_conv_3x3:1 max_pool_3x3:0 sep_conv_7x7:2 sep_conv_7x7:0 "
        "avg_pool_3x3:1 max_pool_3x3:0 max_pool_3x3:1 conv_7x1_1x7:0 sep_conv_3x3:5",
    ),
}
ALIASES = {"PCDARTS": "PC_DARTS_cifar"}

Cell = list[tuple[str, int]]


def cells(name: str) -> tuple[Cell, Cell]:
    """The normal and the reduction cell of a genotype; case, `_` and `-` in its name do not matter.

    Raises:
      UserError: there is none; the message lists those that there are.
    """
    names = {_plain(known): known for known in FAMOUS} | {_plain(alias): known for alias, known in ALIASES.items()}
    if _plain(name) not in names:
        raise unknown("genotype", name, FAMOUS)
    normal, reduce = FAMOUS[names[_plain(name)]]
    return _cell(normal), _cell(reduce)


def _plain(name: str) -> str:
    return re.sub(r"[_-]", "", name).lower()


def _cell(text: str) -> Cell:
    return [(op, int(source)) for op, source in (pair.split(":") for pair in text.split())]
