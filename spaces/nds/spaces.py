"""The cell spaces of NDS (Radosavovic et al., ICCV 2019), with the ops of DARTS, ENAS, PNAS, NASNet and AmoebaNet."""

from dataclasses import replace

from jaxnas.spaces.nds.darts import DARTS as DARTS
from jaxnas.spaces.nds.two_cells import MOST_PARAMS as MOST_PARAMS
from jaxnas.spaces.nds.two_cells import PUBLISHED, Drawn, Sizes, TwoCells

FIXED: Sizes = {"imagenet": (32, 22), "cifar10": (16, 20)}


def _space(name: str, ops: str, nodes: int, loose_ends: bool) -> TwoCells:
    return TwoCells(name, tuple(ops.split()), nodes, loose_ends, PUBLISHED)


def _fixed(space: TwoCells) -> TwoCells:
    """The variant of a space whose networks have one width and depth."""
    drawn = {name: Drawn((width,), (depth,)) for name, (width, depth) in FIXED.items()}
    return replace(space, name=f"{space.name}_fix_w_d", default=FIXED, drawn=drawn)


# the order of the ops is that of NDS's code
ENAS = _space(
    "enas",
    "skip_connect sep_conv_3x3 sep_conv_5x5 avg_pool_3x3 max_pool_3x3",
    nodes=5,
    loose_ends=True,
)
PNAS = _space(
    "pnas",
    "sep_conv_3x3 sep_conv_5x5 sep_conv_7x7 conv_7x1_1x7 skip_connect avg_pool_3x3 max_pool_3x3 dil_conv_3x3",
    nodes=5,
    loose_ends=False,
)
NASNET = _space(
    "nasnet",
    "skip_connect conv_3x1_1x3 conv_7x1_1x7 dil_conv_3x3 avg_pool_3x3 max_pool_3x3 max_pool_5x5 max_pool_7x7 "
    "conv_1x1 conv_3x3 sep_conv_3x3 sep_conv_5x5 sep_conv_7x7",
    nodes=5,
    loose_ends=True,
)
AMOEBA = _space(
    "amoeba",
    "skip_connect sep_conv_3x3 sep_conv_5x5 sep_conv_7x7 avg_pool_3x3 max_pool_3x3 dil_sep_conv_3x3 conv_7x1_1x7",
    nodes=5,
    loose_ends=True,
)

NDS = (DARTS, ENAS, PNAS, NASNET, AMOEBA, *map(_fixed, (DARTS, ENAS, PNAS)))
