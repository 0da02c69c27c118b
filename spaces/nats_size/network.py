"""The network of NATS-Bench's size space: widths as data.

The network has the widest architecture's weights. Behind every operation a mask of zeros and ones leaves an
architecture the first channels of each layer, so that all 32,768 are one compiled program; every one costs what the
widest does. Channels that are left out are zero and get no gradient: logits, batch moments and NTK are exactly those of
the narrow network, and so are steps of gradient descent from weights that are scaled to its own number of inputs, as it
would draw them itself (`rescale_to_fan_in`).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.kernels.pool import mean_pool2x2
from jaxnas.network.network import HEAD, Config, Network, Ops, Path, Walk
from jaxnas.network.ops import ConvNorm, Head, Identity

LAYERS, CHOICES = 5, 8  # layer 0: stem and cell; 1 and 3: reductions; 2 and 4: cells
INNER = ("2<-1", "3<-1", "3<-2", "conv_b")  # convolutions whose inputs have the layer's own width


@dataclass(frozen=True)
class SizeNetwork(Network):
    """Stem, cell, reduction, cell, reduction, cell, head.

    Attributes:
      config: `channels` is the largest width; choice k of 8 is (k + 1) / 8 of that.
      widths: of the five layers, for the network of one architecture, without masks; empty for that of all.
    """

    config: Config
    widths: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return LAYERS

    def specialised(self, arch: np.ndarray) -> "SizeNetwork":
        return replace(self, widths=tuple(int(choice + 1) * self.config.channels // CHOICES for choice in arch))

    def ops(self) -> dict[Path, Ops]:
        config, widths = self.config, self.widths or (self.config.channels,) * LAYERS
        conv = functools.partial(ConvNorm, layout=config.layout, bn=config.bn)
        places: dict[Path, Ops] = {("stem",): conv(config.image[2], widths[0], 3, relu=False)}
        for layer, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            if layer % 2:
                places["layers", layer, "conv_a"] = conv(before, after, 3, stride=2)
                places["layers", layer, "conv_b"] = conv(after, after, 3)
                places["layers", layer, "shortcut"] = conv(before, after, 1, relu=False, norm=False)
                continue
            for name in ("1<-0", "2<-0", "2<-1", "3<-1", "3<-2"):
                places["layers", layer, name] = conv(after if name in INNER else before, after, 3)
            if not self.widths:
                same = Identity(after, config.layout)
                places["layers", layer, "3<-0"] = {"skip_connect": same, "nor_conv_1x1": conv(before, after, 1)}
            elif before != after:
                places["layers", layer, "3<-0"] = conv(before, after, 1)
        return {**places, HEAD: Head(widths[-1], config.classes, config.layout, config.bn)}

    def wire(self, apply: Walk, arch: jax.Array, x: jax.Array) -> list[jax.Array]:
        """The outputs of the cells."""
        x, features = apply.block(self._masked(apply(("stem",), x), arch[0])), []
        for layer in range(LAYERS):
            if layer % 2:
                x = apply.block(self._reduction(apply, layer, arch, x))
            else:
                x = apply.block(self._cell(apply, layer, arch, x))
                features.append(x)
        return features

    def input_shares(self, arch: jax.Array) -> Mapping[Path, jax.Array]:
        if self.widths:
            return {}
        shares = [self._mask(choice).mean() for choice in arch]
        paths = [path for path in self.ops() if path != ("stem",)]
        named = {path: (*path, "nor_conv_1x1") if path[-1] == "3<-0" else path for path in paths}
        return {named[path]: shares[_input_layer(path)] for path in paths}

    def tap_masks(self, arch: jax.Array) -> Sequence[jax.Array] | None:
        return None if self.widths else [self._mask(arch[layer]) for layer in range(0, LAYERS, 2)]

    def activations(self, images: int) -> int:
        """The floats that a forward pass of `images` images keeps: two for each input of an operation."""
        return 2 * images * sum(int(np.prod(shape)) for shape in self.flow.inputs.values())

    def costs(self, archs: np.ndarray) -> np.ndarray:
        return np.ones(len(archs), np.int64)

    def _masked(self, x: jax.Array, choice: jax.Array) -> jax.Array:
        if self.widths:
            return x
        return x * self.config.layout.per_channel(self._mask(choice).astype(x.dtype))

    def _mask(self, choice: jax.Array) -> jax.Array:
        return jnp.arange(self.config.channels) < (choice + 1) * self.config.channels // CHOICES

    def _reduction(self, apply: Walk, layer: int, arch: jax.Array, x: jax.Array) -> jax.Array:
        path = ("layers", layer)
        main = apply((*path, "conv_b"), self._masked(apply((*path, "conv_a"), x), arch[layer]))
        return self._masked(main + apply((*path, "shortcut"), mean_pool2x2(x, self.config.layout)), arch[layer])

    def _cell(self, apply: Walk, layer: int, arch: jax.Array, x: jax.Array) -> jax.Array:
        def edge(name: str, x: jax.Array) -> jax.Array:
            return apply(("layers", layer, name), x)

        first = self._masked(edge("1<-0", x), arch[layer])
        second = self._masked(edge("2<-0", x) + edge("2<-1", first), arch[layer])
        if not self.widths:
            changes = (arch[layer] != arch[max(layer - 1, 0)]).astype(jnp.int32)
            skip = apply(("layers", layer, "3<-0"), x, changes)
        else:
            skip = x if self.widths[layer] == self.widths[max(layer - 1, 0)] else edge("3<-0", x)
        return self._masked(skip + edge("3<-1", first) + edge("3<-2", second), arch[layer])


def _input_layer(path: Path) -> int:
    """The layer whose width is the number of inputs of the operation at `path`."""
    if path[:1] == HEAD:
        return LAYERS - 1
    layer, name = int(path[1]), path[2]
    return layer if name in INNER else max(layer - 1, 0)
