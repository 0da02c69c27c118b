"""One architecture of two cells as an ordinary Flax NNX module."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnas.spaces.blocks.modules import INITS, Chain, Convolution, Make, norm
from jaxnas.spaces.blocks.parts import FACTORIZED, OPS, POINTWISE
from jaxnas.spaces.blocks.stem import stem_ops
from jaxnas.spaces.nds.network import INPUTS, CellShape, TwoCellNetwork


class TwoCellModule(nnx.Module):
    """Images `[B, H, W, C]` to logits `[B, classes]`; `train()` and `eval()` switch the batch normalisations.

    Args:
      network: whose width and depth it has.
      ops, sources: of the two cells `[2, 2 n]`.
      outputs: which nodes are output `[2, n]`.
    """

    def __init__(
        self, network: TwoCellNetwork, ops: np.ndarray, sources: np.ndarray, outputs: np.ndarray, *, rngs: nnx.Rngs
    ):
        init, channels = network.config.init, network.config.image[2]
        self.stem: nnx.List[Convolution] = nnx.List([])
        for part, op in zip(network.frame.parts, stem_ops(network.frame, network.config), strict=False):
            self.stem.append(Convolution(part, channels, op.out_channels, op.stride, init, rngs=rngs))
            channels = op.out_channels
        counts = outputs.sum(-1).tolist()
        shapes = network.shapes_of(counts)
        self.cells = nnx.List(
            CellModule(
                network,
                shape,
                [network.names[op] for op in ops[int(shape.reduction)]],
                sources[int(shape.reduction)].tolist(),
                (np.flatnonzero(outputs[int(shape.reduction)]) + INPUTS).tolist(),
                rngs=rngs,
            )
            for shape in shapes
        )
        features = counts[shapes[-1].reduction] * shapes[-1].channels
        self.norm = norm(features, rngs) if network.norm_before_head else None
        self.classifier = nnx.Linear(features, network.config.classes, kernel_init=INITS[init], rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        last = self.taps(x)[-1]
        return self.classifier((last if self.norm is None else jax.nn.relu(self.norm(last))).mean((1, 2)))

    def taps(self, x: jax.Array) -> list[jax.Array]:
        """The outputs of all cells."""
        before, last, outputs = x, x, []
        for convolution in self.stem:
            before, last = last, convolution(last)
        if len(self.stem) == 1:
            before = last
        for cell in self.cells:
            before, last = last, cell(before, last)
            outputs.append(last)
        return outputs


class CellModule(nnx.Module):
    """A cell on the outputs of the two cells before it; an op `none` is left out."""

    def __init__(
        self,
        network: TwoCellNetwork,
        shape: CellShape,
        names: list[str],
        sources: list[int],
        outputs: list[int],
        *,
        rngs: nnx.Rngs,
    ):
        self.reduction, self.nodes, self.outputs = shape.reduction, network.nodes, tuple(outputs)
        init, channels = network.config.init, shape.channels
        self.entries = nnx.List(
            Make((FACTORIZED if entry.halve else POINTWISE,), entry.channels, channels, 1 + entry.halve, init)(rngs)
            for entry in shape.entries
        )
        modules: list[Chain] = []
        wiring = []
        for place, (name, source) in enumerate(zip(names, sources, strict=True)):
            if name != "none":
                stride = 1 + (shape.reduction and source < INPUTS)
                modules.append(Make(OPS[name], channels, channels, stride, init)(rngs))
                wiring.append((INPUTS + place // 2, source))
        self.ops, self.wiring = nnx.List(modules), tuple(wiring)

    def __call__(self, before: jax.Array, last: jax.Array) -> jax.Array:
        nodes = [entry(x) for entry, x in zip(self.entries, (before, last), strict=True)]
        step = 1 + self.reduction
        nodes += [jnp.zeros_like(nodes[0][:, ::step, ::step])] * self.nodes
        for op, (target, source) in zip(self.ops, self.wiring, strict=True):
            nodes[target] = nodes[target] + op(nodes[source])
        return jnp.concatenate([nodes[node] for node in self.outputs], -1)
