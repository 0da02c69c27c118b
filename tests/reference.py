"""Every score of jaxnas once more, in plain NumPy float64: slow, obvious, and importing nothing from jaxnas or JAX.

An architecture is an op index per edge `[6]` or a mask `[6, 5]` of active ops; weights are a flat dict of arrays
(`stages/0/conv3x3/kernel` `[N, 6, 3, 3, C, C]`, ...), from which widths, depths and options are read off.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Weights = Mapping[str, Array]
Vjp = Callable[[Array], Array]

NONE, SKIP, CONV1X1, CONV3X3, POOL3X3 = range(5)
EDGES = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]  # (to, from)
EPS, STATISTICS_MOMENTUM = 1e-5, 0.1


# --- a tape: values that remember how their cotangent reaches their parents ------------------------------------------


class Var:
    """An array with, for each parent, the function from this value's cotangent to the parent's."""

    serials = itertools.count()

    def __init__(self, value: ArrayLike, *parents: tuple["Var", Vjp]):
        self.value, self.parents, self.serial = np.asarray(value, np.float64), parents, next(self.serials)


def backward(output: Var, cotangent: Array) -> dict[Var, Array]:
    """The cotangent of every leaf below `output`, visiting the youngest value first."""
    pending, leaves = {output: cotangent}, {}
    while pending:
        var = max(pending, key=lambda v: v.serial)
        g = pending.pop(var)
        if not var.parents:
            leaves[var] = g
        for parent, vjp in var.parents:
            pending[parent] = pending.get(parent, 0.0) + vjp(g)
    return leaves


# --- operations, on `[B, H, W, C]` -----------------------------------------------------------------------------------


def add(*terms: Var) -> Var:
    return Var(sum(t.value for t in terms), *((t, lambda g: g) for t in terms))


def times(x: Var, factor: float) -> Var:
    return Var(x.value * factor, (x, lambda g: g * factor))


def relu(x: Var) -> Var:
    return Var(np.maximum(x.value, 0.0), (x, lambda g: g * (x.value > 0)))


def add_channels(x: Var, bias: Var) -> Var:
    return Var(x.value + bias.value, (x, lambda g: g), (bias, lambda g: g.reshape(-1, g.shape[-1]).sum(0)))


def scale_channels(x: Var, scale: Var) -> Var:
    return Var(
        x.value * scale.value,
        (x, lambda g: g * scale.value),
        (scale, lambda g: (g * x.value).reshape(-1, g.shape[-1]).sum(0)),
    )


def windows(shape: Sequence[int], kernel: int, stride: int, pad: int) -> list[tuple[int, int, tuple[slice, slice]]]:
    """For each kernel offset (i, j), the rows and columns of the padded input that it meets, one per output pixel."""
    height, width = ((n + 2 * pad - kernel) // stride + 1 for n in shape[1:3])
    rows = [slice(i, i + stride * (height - 1) + 1, stride) for i in range(kernel)]
    columns = [slice(j, j + stride * (width - 1) + 1, stride) for j in range(kernel)]
    return [(i, j, (rows[i], columns[j])) for i in range(kernel) for j in range(kernel)]


def pad_image(x: Array, pad: int) -> Array:
    return np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))


def unpad_image(x: Array, pad: int) -> Array:
    return x[:, pad : x.shape[1] - pad, pad : x.shape[2] - pad]


def conv(x: Var, kernel: Var, stride: int = 1) -> Var:
    """Cross-correlation with zero padding k // 2; `kernel` `[k, k, C_in, C_out]`."""
    size = len(kernel.value)
    pad = size // 2
    padded, meets = pad_image(x.value, pad), windows(x.value.shape, size, stride, pad)

    def to_input(g: Array) -> Array:
        result = np.zeros_like(padded)
        for i, j, (rows, columns) in meets:
            result[:, rows, columns] += g @ kernel.value[i, j].T
        return unpad_image(result, pad)

    def to_kernel(g: Array) -> Array:
        result = np.zeros_like(kernel.value)
        for i, j, (rows, columns) in meets:
            result[i, j] = np.tensordot(padded[:, rows, columns], g, axes=((0, 1, 2), (0, 1, 2)))
        return result

    value = sum(padded[:, rows, columns] @ kernel.value[i, j] for i, j, (rows, columns) in meets)
    return Var(value, (x, to_input), (kernel, to_kernel))


def avg_pool(x: Var, size: int, stride: int, pad: int) -> Var:
    """Mean over the pixels of each window that lie inside the image (padding does not count)."""
    meets = windows(x.value.shape, size, stride, pad)
    padded, inside = pad_image(x.value, pad), pad_image(np.ones_like(x.value), pad)
    counts = sum(inside[:, rows, columns] for _, _, (rows, columns) in meets)

    def to_input(g: Array) -> Array:
        result = np.zeros_like(padded)
        for _, _, (rows, columns) in meets:
            result[:, rows, columns] += g / counts
        return unpad_image(result, pad)

    return Var(sum(padded[:, rows, columns] for _, _, (rows, columns) in meets) / counts, (x, to_input))


def standardise(x: Var, mean: Array, var: Array) -> Var:
    """(x - mean) / sqrt(var + eps) with given, constant statistics `[C]`."""
    std = np.sqrt(var + EPS)
    return Var((x.value - mean) / std, (x, lambda g: g / std))


def standardise_batch(x: Var) -> Var:
    """The same with the batch's own statistics, which depend on x."""
    mean, var = statistics(x.value)
    std = np.sqrt(var + EPS)
    xhat = (x.value - mean) / std
    over = (0, 1, 2)
    return Var(xhat, (x, lambda g: (g - g.mean(over) - xhat * (g * xhat).mean(over)) / std))


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance per channel, `[C]` each."""
    return x.mean((0, 1, 2)), x.var((0, 1, 2))


def subsample(x: Var, size: int) -> Var:
    """Nearest neighbour as in PyTorch: output pixel i reads input pixel floor(i * H / size)."""
    height, width = x.value.shape[1:3]
    rows, columns = (np.arange(size) * n // size for n in (height, width))

    def to_input(g: Array) -> Array:
        result = np.zeros_like(x.value)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                result[:, row, column] += g[:, i, j]
        return result

    return Var(x.value[:, rows][:, :, columns], (x, to_input))


def spatial_mean(x: Var) -> Var:
    height, width = x.value.shape[1:3]
    return Var(
        x.value.mean((1, 2)),
        (x, lambda g: np.broadcast_to(g[:, None, None] / (height * width), x.value.shape)),
    )


def matmul(x: Var, kernel: Var) -> Var:
    return Var(x.value @ kernel.value, (x, lambda g: g @ kernel.value.T), (kernel, lambda g: x.value.T @ g))


# --- the NAS-Bench-201 network ---------------------------------------------------------------------------------------


def as_mask(arch: ArrayLike) -> Array:
    arch = np.asarray(arch)
    return np.eye(5, dtype=bool)[arch] if arch.ndim == 1 else arch.astype(bool)


class Network:
    """One forward pass of one architecture, with what it leaves behind.

    Args:
      weights: flat dict; `.../bias` of cell convolutions, the stem and the classifier are used where present.
      arch: `[6]` op indices or `[6, 5]` mask.
      bn: "batch" differentiates through batch statistics, "frozen" holds them constant.
      running: running (mean, variance) of the norms that track them, by name; read in evaluation, else updated.
      evaluate: normalise the norms named in `running` with running statistics.
    """

    def __init__(
        self,
        weights: Weights,
        arch: ArrayLike,
        *,
        bn: str = "batch",
        running: dict[str, tuple[Array, Array]] | None = None,
        evaluate: bool = False,
    ):
        assert bn in ("batch", "frozen")
        self.weights, self.mask, self.bn, self.evaluate = weights, as_mask(arch), bn, evaluate
        self.running = {} if running is None else running
        self.leaves: dict[tuple[str, tuple[int, ...]], Var] = {}
        self.signs: list[Array] = []

    def weight(self, name: str, index: tuple[int, ...] = ()) -> Var:
        if (name, index) not in self.leaves:
            self.leaves[name, index] = Var(self.weights[name][index])
        return self.leaves[name, index]

    def gradients(self, output: Var, cotangent: Array) -> dict[str, Array]:
        """VJP of `output` for every tensor of weights; zero where it was not used."""
        found = backward(output, cotangent)
        result = {name: np.zeros(value.shape) for name, value in self.weights.items()}
        for (name, index), leaf in self.leaves.items():
            result[name][index] += found.get(leaf, 0.0)
        return result

    def relu(self, x: Var) -> Var:
        self.signs.append((x.value > 0).reshape(len(x.value), -1))
        return relu(x)

    def norm(self, name: str, x: Var, index: tuple[int, ...] = ()) -> Var:
        if self.evaluate and name in self.running:
            x = standardise(x, *self.running[name])
        else:
            self.track(name, x.value)
            x = standardise_batch(x) if self.bn == "batch" else standardise(x, *statistics(x.value))
        if f"{name}/scale" in self.weights:
            x = add_channels(scale_channels(x, self.weight(f"{name}/scale", index)), self.weight(f"{name}/bias", index))
        return x

    def track(self, name: str, x: Array) -> None:
        """Move the running statistics, which hold the unbiased variance, towards the batch's."""
        if name in self.running:
            mean, var = statistics(x)
            pixels = x[..., 0].size
            old_mean, old_var = self.running[name]
            m = STATISTICS_MOMENTUM
            self.running[name] = (1 - m) * old_mean + m * mean, (1 - m) * old_var + m * var * pixels / (pixels - 1)

    def conv(self, name: str, x: Var, index: tuple[int, ...] = (), stride: int = 1) -> Var:
        y = conv(x, self.weight(f"{name}/kernel", index), stride)
        return add_channels(y, self.weight(f"{name}/bias", index)) if f"{name}/bias" in self.weights else y

    def op(self, op: int, x: Var, stage: int, index: tuple[int, ...]) -> Var:
        """`index` is (cell, edge)."""
        if op == NONE:
            return times(x, 0.0)
        if op == SKIP:
            return x
        if op == POOL3X3:
            return avg_pool(x, 3, 1, 1)
        kind = "1x1" if op == CONV1X1 else "3x3"
        y = self.conv(f"stages/{stage}/conv{kind}", self.relu(x), index)
        return self.norm(f"stages/{stage}/norm{kind}", y, index)

    def cell(self, x: Var, stage: int, cell: int) -> Var:
        nodes = [x] + [times(x, 0.0)] * 3
        for edge, (to, source) in enumerate(EDGES):
            ops = np.flatnonzero(self.mask[edge]).tolist()
            for op in ops:
                y = self.op(op, nodes[source], stage, (cell, edge))
                nodes[to] = add(nodes[to], times(y, 1 / len(ops)))
        return nodes[3]

    def stage(self, x: Var, stage: int) -> Var:
        for cell in range(len(self.weights[f"stages/{stage}/conv3x3/kernel"])):
            x = self.cell(x, stage, cell)
        return x

    def reduction(self, x: Var, r: int) -> Var:
        y = self.norm(f"reductions/{r}/norm_a", self.conv(f"reductions/{r}/conv_a", self.relu(x), stride=2))
        y = self.norm(f"reductions/{r}/norm_b", self.conv(f"reductions/{r}/conv_b", self.relu(y)))
        return add(y, self.conv(f"reductions/{r}/shortcut", avg_pool(x, 2, 2, 0)))

    def taps(self, images: Array) -> list[Var]:
        """Outputs of the three stages, `[B, H / 2**s, W / 2**s, C * 2**s]`."""
        x = self.norm("stem/norm", self.conv("stem/conv", Var(images)))
        taps = [self.stage(x, 0)]
        for r in range(2):
            taps.append(self.stage(self.reduction(taps[-1], r), r + 1))
        return taps

    def head_activation(self, x: Var) -> Var:
        return self.relu(self.norm("norm", x))

    def logits(self, images: Array) -> Var:
        """`[B, 10]`"""
        x = spatial_mean(self.head_activation(self.taps(images)[-1]))
        return add_channels(matmul(x, self.weight("classifier/kernel")), self.weight("classifier/bias"))

    def regression_head(self, tap: Var, level: int, size: int) -> Var:
        """`[B, size, size, C_l]`"""
        return self.conv(f"heads/{level}/conv", self.norm(f"heads/{level}/norm", subsample(tap, size)))


# --- networks of infinite width --------------------------------------------------------------------------------------


class Infinite:
    """NNGP and NTK between all pixels of `images` `[B, H, W, C]`, a pair of matrices `[B H W, B H W]`, layer by layer.

    A cell keeps the covariances between its nodes, too, since operations without weights make nodes depend on one
    another.

    Args:
      norm: what covariances after convolutions are divided by: the deviations of pixels, of images (`layer`), of the
        `batch`, or `none`.
    """

    def __init__(self, images: Array, norm: str):
        self.images, self.norm, self.side = len(images), norm, images.shape[1]
        rows = images.reshape(-1, images.shape[-1]).astype(np.float64)
        nngp = rows @ rows.T / rows.shape[1]
        self.kernels = nngp, np.zeros_like(nngp)

    def spread(self, matrix: Array) -> Array:
        """A map between pixels as one between the pixels of all images."""
        return np.kron(np.eye(self.images), matrix)

    def pool(self, size: int, stride: int, pad: int) -> Array:
        basis = np.eye(self.side**2).reshape(-1, self.side, self.side, 1)
        return self.spread(avg_pool(Var(basis), size, stride, pad).value.reshape(len(basis), -1).T)

    def relu(self, nngp: Array, ntk: Array) -> tuple[Array, Array]:
        """Cho and Saul (NeurIPS 2009)."""
        lengths = np.sqrt(np.outer(np.diag(nngp), np.diag(nngp)))
        angle = np.arccos(np.clip(nngp / np.where(lengths > 0, lengths, 1), -1, 1))
        both = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) * lengths / (2 * np.pi)
        return both, ntk * (np.pi - angle) / (2 * np.pi)

    def conv(self, nngp: Array, ntk: Array, size: int, stride: int = 1, normed: bool = True) -> tuple[Array, Array]:
        """Weights N(0, 2 / inputs), of which the NTK leaves out the root of their number."""
        basis = np.eye(self.side**2).reshape(-1, self.side, self.side, 1)
        padded, total, tangent = pad_image(basis, size // 2), 0.0, 0.0
        for _, _, (rows, columns) in windows(basis.shape, size, stride, size // 2):
            shift = self.spread(padded[:, rows, columns].reshape(len(basis), -1).T)
            total, tangent = total + shift @ nngp @ shift.T, tangent + shift @ ntk @ shift.T
        total, tangent = 2 * total / size**2, 2 * tangent / size**2
        return self.normalise(total, total + tangent) if normed else (total, total + tangent)

    def normalise(self, nngp: Array, ntk: Array) -> tuple[Array, Array]:
        variance = np.diag(nngp).reshape(self.images, -1)
        if self.norm == "none":
            return nngp, ntk
        over = {"pixel": (), "layer": 1, "batch": (0, 1)}[self.norm]
        deviation = np.sqrt(EPS + np.broadcast_to(variance.mean(over, keepdims=True), variance.shape)).ravel()
        return tuple(kernel / np.outer(deviation, deviation) for kernel in (nngp, ntk))

    def cell(self, arch: Sequence[int]) -> None:
        blocks = {(0, 0): self.kernels}
        for node in range(1, 4):
            incoming = [(source, op) for (to, source), op in zip(EDGES, arch, strict=True) if to == node]
            maps = {SKIP: self.spread(np.eye(self.side**2)), POOL3X3: self.pool(3, 1, 1)}
            linear = [(source, maps[op]) for source, op in incoming if op in maps]
            for other in range(node):
                blocks[node, other] = self.sums([(by, blocks[source, other]) for source, by in linear])
                blocks[other, node] = tuple(kernel.T for kernel in blocks[node, other])
            drawn = [
                self.conv(*self.relu(*blocks[source, source]), {CONV1X1: 1, CONV3X3: 3}[op])
                for source, op in incoming
                if op in (CONV1X1, CONV3X3)
            ]
            one = np.eye(len(self.kernels[0]))
            both = [(by, blocks[source, node]) for source, by in linear] + [(one, kernels) for kernels in drawn]
            blocks[node, node] = self.sums(both)
        self.kernels = blocks[3, 3]

    def sums(self, parts: Sequence[tuple[Array, tuple[Array, Array]]]) -> tuple[Array, Array]:
        return tuple(sum((by @ kernels[i] for by, kernels in parts), np.zeros_like(self.kernels[i])) for i in range(2))

    def reduction(self) -> None:
        inside, side = self.conv(*self.relu(*self.kernels), 3, 2), self.side
        halved = self.pool(2, 2, 0)
        self.side = side // 2
        main = self.conv(*self.relu(*inside), 3)
        shortcut = self.conv(*(halved @ kernel @ halved.T for kernel in self.kernels), 1, normed=False)
        self.kernels = tuple(a + b for a, b in zip(main, shortcut, strict=True))


def infinite_kernels(arch: Sequence[int], images: Array, norm: str, stages: int = 3) -> tuple[Array, Array]:
    """NNGP and NTK `[B, B]` of one logit of the network of infinite width, one cell in each stage."""
    network = Infinite(images, norm)
    network.kernels = network.conv(*network.kernels, 3)
    for stage in range(stages):
        if stage:
            network.reduction()
        network.cell(arch)
    nngp, ntk = network.relu(*network.normalise(*network.kernels))
    blocks = (len(images), network.side**2) * 2
    nngp, ntk = (kernel.reshape(blocks).mean((1, 3)) for kernel in (nngp, ntk))
    return 2 * nngp, 2 * (nngp + ntk)


def mean_correlation(kernel: Array) -> float:
    """The mean over pairs of different rows of kernel `[B, B]`, with a unit diagonal."""
    pairs = itertools.permutations(range(len(kernel)), 2)
    return float(np.mean([kernel[i, j] / math.sqrt(kernel[i, i] * kernel[j, j]) for i, j in pairs]))


# --- NTK, linear regions, regression ---------------------------------------------------------------------------------


def logits(weights: Weights, arch: ArrayLike, images: Array) -> Array:
    """The logits `[B, 10]` of `images` `[B, H, W, 3]`."""
    return Network(weights, arch).logits(images).value


def ntk_gram(weights: Weights, arch: ArrayLike, images: Array, bn: str = "batch") -> Array:
    """Return K = G G^T `[B, B]`; row i of G is the gradient of sum_c logit_ic for all kernels and scales."""
    network = Network(weights, arch, bn=bn)
    output = network.logits(images)
    rows = []
    for i in range(len(images)):
        seed = np.zeros_like(output.value)
        seed[i] = 1.0
        gradients = network.gradients(output, seed)
        rows.append(np.concatenate([g.ravel() for name, g in gradients.items() if name.endswith(("kernel", "scale"))]))
    jacobian = np.stack(rows)
    return jacobian @ jacobian.T


def condition_number(gram: Array) -> float:
    """The largest over the smallest eigenvalue of `gram` `[B, B]`."""
    eigenvalues = np.linalg.eigvalsh(np.asarray(gram, np.float64))
    return float(eigenvalues[-1] / eigenvalues[0])


def patterns(weights: Weights, arch: ArrayLike, patches: Array) -> Array:
    """The signs `[B, bits]` of all executed ReLUs of the one-cell network without stem on one batch."""
    network = Network(weights, arch)
    network.head_activation(network.cell(Var(patches), 0, 0))
    return np.concatenate(network.signs, axis=1)


def regions(weights: Weights, arch: ArrayLike, patches: Array) -> int:
    """The number of distinct patterns over all batches of `patches` `[K, B, 3, 3, 1]`."""
    seen = set()
    for batch in patches:
        for row in patterns(weights, arch, batch):
            seen.add(row.tobytes())
    return len(seen)


def swap(weights: Weights, arch: ArrayLike, patches: Array) -> float:
    """The mean over batches of the number of distinct patterns of units that are on for some image."""
    counts = []
    for batch in patches:
        units = {unit.tobytes() for unit in np.ascontiguousarray(patterns(weights, arch, batch).T) if unit.any()}
        counts.append(len(units))
    return float(np.mean(counts))


def mean_squared_error(output: Var, target: Array) -> Var:
    error = output.value - target
    return Var(np.mean(error**2), (output, lambda g: g * 2.0 * error / error.size))


def weighted_loss(network: Network, images: Array, targets: Sequence[Array], weights: Sequence[float]) -> Var:
    losses = []
    for level, (tap, target, weight) in enumerate(zip(network.taps(images), targets, weights, strict=True)):
        output = network.regression_head(tap, level, target.shape[1])
        losses.append(times(mean_squared_error(output, target), weight))
    return add(*losses)


def fresh_running(weights: Weights) -> dict[str, tuple[Array, Array]]:
    """Mean 0 and variance 1 for the norms that track statistics: all with a scale, none inside the cells."""
    norms = {name.removesuffix("/scale"): len(scale) for name, scale in weights.items() if name.endswith("/scale")}
    return {name: (np.zeros(n), np.ones(n)) for name, n in norms.items() if not name.startswith("stages/")}


def regression(
    weights: Weights,
    arch: ArrayLike,
    images: Array,
    targets: Sequence[Array],
    noise: Array,
    train_weights: Sequence[float] = (1.0, 1.0, 1.0),
    score_weights: Sequence[float] = (0.25, 0.5, 1.0),
    *,
    steps: int = 100,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 4e-5,
) -> float:
    """Return GenNAS's score: the evaluation loss after `steps` of SGD on synthetic targets.

    Args:
      images: `[B, H, W, 3]`; step t sees `images + noise[t]`, the evaluation `images + noise[steps]`.
      targets: one `[B, S, S, C_l]` per tap.
      weight_decay: for kernels only.
    """
    weights = {name: np.array(value, np.float64) for name, value in weights.items()}
    velocity = {name: np.zeros(value.shape) for name, value in weights.items()}
    running = fresh_running(weights)
    for step in range(steps):
        network = Network(weights, arch, running=running)
        loss = weighted_loss(network, images + noise[step], targets, train_weights)
        for name, gradient in network.gradients(loss, np.ones(())).items():
            decay = weight_decay if name.endswith("kernel") else 0.0
            velocity[name] = momentum * velocity[name] + gradient + decay * weights[name]
            weights[name] = weights[name] - lr * velocity[name]
    network = Network(weights, arch, running=running, evaluate=True)
    return float(weighted_loss(network, images + noise[steps], targets, score_weights).value)


# --- GenNAS signals, maps `[S, S]` with positions 1..S ---------------------------------------------------------------


def wave(phase_map: Array, j: int) -> Array:
    return np.sin(phase_map) if j % 2 == 0 else np.cos(phase_map)


def sin1d_pool(frequencies: Sequence[float], phases: Array, size: int = 8) -> Array:
    """Return `[F * 2J, S, S]`, `phases` `[F, J]`: per frequency J maps along y (rows), then J along x (columns)."""
    y, x = np.mgrid[1 : size + 1, 1 : size + 1]
    maps = []
    for f, frequency in enumerate(frequencies):
        for position in (y, x):
            for j, phase in enumerate(phases[f]):
                maps.append(wave(2 * np.pi * frequency * position + phase, j))
    return np.stack(maps)


def sin2d_pool(frequencies: Sequence[float], phases: Array, size: int = 8) -> Array:
    """Return `[F * F * 2J, S, S]`, `phases` `[F, F, J]`: per pair (y, x) J maps, then the same J upside down."""
    y, x = np.mgrid[1 : size + 1, 1 : size + 1]
    maps = []
    for a, b in itertools.product(range(len(frequencies)), repeat=2):
        angle = 2 * np.pi * (frequencies[a] * y + frequencies[b] * x)
        pair = [wave(angle + 2 * phase, j) for j, phase in enumerate(phases[a, b])]
        maps += pair + [m[::-1] for m in pair]
    return np.stack(maps)


def dot_map(cells: Sequence[tuple[int, int]], signs: Sequence[float], size: int = 8) -> Array:
    """Return zeros `[S, S]` with `signs` (+1 or -1) at `cells` (row, column)."""
    result = np.zeros((size, size))
    for (row, column), sign in zip(cells, signs, strict=True):
        result[row, column] = sign
    return result


def reflect(i: int, size: int) -> int:
    """Half-sample symmetric border: d c b a | a b c d | d c b a."""
    i = i % (2 * size)
    return i if i < size else 2 * size - 1 - i


def gaussian_blur(image: Array, sigma: float = 1.0, radius: int = 4) -> Array:
    """Return `image` `[H, W]` blurred along rows, then columns, as `scipy.ndimage.gaussian_filter` does."""
    kernel = {k: math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)}
    total = sum(kernel.values())
    for _ in range(2):
        height = len(image)
        rows = [sum(kernel[k] / total * image[reflect(i + k, height)] for k in kernel) for i in range(height)]
        image = np.stack(rows).T
    return image


def gaussian_dot(dots: Array) -> Array:
    """The blurred map `[S, S]`, divided by its largest magnitude."""
    blurred = gaussian_blur(dots)
    return blurred / np.abs(blurred).max()


def resize_maps(images: Array, permutation: Sequence[int], size: int = 8) -> Array:
    """Return `[B, S, S, C_l]`: sub-sampled `images` `[B, H, W, 3]` scaled to [-1, 1]; map c is colour p_c mod 3."""
    step = images.shape[1] // size
    small = images[:, ::step, ::step]
    scaled = 2 * (small - small.min()) / (small.max() - small.min()) - 1
    return np.stack([scaled[..., p % 3] for p in permutation], axis=-1)


# --- TE-NAS pruning --------------------------------------------------------------------------------------------------


def significant(x: float, digits: int = 3) -> float:
    """Round to significant figures; the official code's 1e-8 sends exact halves away from zero."""
    if x == 0:
        return 0.0
    magnitude = abs(x) + 1e-8
    scale = 10.0 ** (math.floor(math.log10(magnitude)) + 1)
    return math.copysign(round(magnitude / scale, digits) * scale, x)


def mean_change(before: Sequence[float], after: Sequence[float]) -> float:
    """The mean over repeats of (before - after) / before, each rounded to 3 decimals."""
    return float(np.mean([round(float((b - a) / b), 3) for b, a in zip(before, after, strict=True)]))


def dense_ranks(values: Sequence[float], descending: bool = False) -> tuple[list[int], list[int]]:
    """Return (rank of each candidate, candidates in order): sorted by rounded value, tied by exact equality."""
    order = sorted(range(len(values)), key=lambda i: significant(values[i]), reverse=descending)
    ranks = [0] * len(values)
    for previous, current in itertools.pairwise(order):
        ranks[current] = ranks[previous] + (values[current] != values[previous])
    return ranks, order


def prune_order(delta_kappa: Sequence[float], delta_regions: Sequence[float]) -> list[int]:
    """The candidates, first to prune first: by the sum of both ranks, ties in the NTK's order."""
    ntk_ranks, ntk_order = dense_ranks(delta_kappa, descending=True)
    region_ranks, _ = dense_ranks(delta_regions)
    return sorted(ntk_order, key=lambda i: ntk_ranks[i] + region_ranks[i])


def prune_round(
    delta_kappa: Sequence[float],
    delta_regions: Sequence[float],
    edge_of_candidate: Sequence[int],
    prune_number: int = 1,
) -> list[int]:
    """The candidates pruned in one round, ascending: on every edge the first `prune_number`, never the last op.

    Args:
      delta_kappa: mean relative change of the condition number when the candidate is removed, `[n]`.
      delta_regions: the same of the number of linear regions, `[n]`.
      edge_of_candidate: `[n]`; the first candidate's edge decides how many ops an edge may lose.
    """
    prune_number = min(prune_number, list(edge_of_candidate).count(edge_of_candidate[0]) - 1)
    pruned: dict[int, list[int]] = {}
    for candidate in prune_order(delta_kappa, delta_regions):
        chosen = pruned.setdefault(edge_of_candidate[candidate], [])
        if len(chosen) < prune_number:
            chosen.append(candidate)
    return sorted(itertools.chain(*pruned.values()))


# --- parameters and FLOPs of the benchmark network -------------------------------------------------------------------

Layer = tuple[str, int, int, int, int]  # kind, kernel size, channels in, channels out, output height = width


def op_layers(op: int, channels: int, size: int) -> list[Layer]:
    if op == POOL3X3:
        return [("pool", 3, channels, channels, size)]
    if op in (NONE, SKIP):
        return []
    kernel = 1 if op == CONV1X1 else 3
    return relu_conv_norm(kernel, channels, channels, size, size)


def relu_conv_norm(kernel: int, c_in: int, c_out: int, size_in: int, size_out: int) -> list[Layer]:
    return [
        ("relu", 1, c_in, c_in, size_in),
        ("conv", kernel, c_in, c_out, size_out),
        ("norm", 1, c_out, c_out, size_out),
    ]


def benchmark_layers(arch: Sequence[int], channels: int = 16, cells: int = 5, size: int = 32) -> Iterator[Layer]:
    """Yield every layer of the CIFAR-10 network, also those that do not reach the output."""
    yield ("conv", 3, 3, channels, size)
    yield ("norm", 1, channels, channels, size)
    for stage in range(3):
        if stage > 0:
            wide, half = 2 * channels, size // 2
            yield from relu_conv_norm(3, channels, wide, size, half)
            yield from relu_conv_norm(3, wide, wide, half, half)
            yield ("pool", 2, channels, channels, half)
            yield ("conv", 1, channels, wide, half)
            channels, size = wide, half
        for _ in range(cells):
            for op in arch:
                yield from op_layers(op, channels, size)
    yield ("norm", 1, channels, channels, size)
    yield ("relu", 1, channels, channels, size)
    yield ("global_pool", size, channels, channels, 1)
    yield ("linear", 1, channels, 10, 1)


def params(arch: Sequence[int], channels: int = 16, cells: int = 5) -> int:
    """The number of trainable parameters."""
    total = 0
    for kind, kernel, c_in, c_out, _ in benchmark_layers(arch, channels, cells):
        total += {"conv": kernel**2 * c_in * c_out, "norm": 2 * c_out, "linear": c_in * c_out + c_out}.get(kind, 0)
    return total


def flops(arch: Sequence[int], channels: int = 16, cells: int = 5, size: int = 32) -> int:
    """Return NATS-Bench's count for one image: the multiply-adds of convolutions and classifier, and its biases."""
    total = 0
    for kind, kernel, c_in, c_out, out in benchmark_layers(arch, channels, cells, size):
        outputs = c_out * out**2
        total += {
            "conv": kernel**2 * c_in * outputs,
            "linear": (c_in + 1) * outputs,
        }.get(kind, 0)
    return total


# --- correlation -----------------------------------------------------------------------------------------------------


def average_ranks(values: Sequence[float]) -> list[float]:
    """Rank 1 for the smallest; equal values share the mean of their ranks."""
    return [sum(b < a for b in values) + (sum(b == a for b in values) + 1) / 2 for a in values]


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Pearson's correlation of the average ranks; NaN if either is constant."""
    a, b = (np.array(average_ranks(v)) - (len(v) + 1) / 2 for v in (x, y))
    norm = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm else math.nan


def kendall(x: Sequence[float], y: Sequence[float]) -> float:
    """Return tau-b: (concordant - discordant) / sqrt(pairs untied in x * pairs untied in y); NaN if either is 0."""
    score = untied_x = untied_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        dx, dy = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        score, untied_x, untied_y = score + dx * dy, untied_x + abs(dx), untied_y + abs(dy)
    norm = math.sqrt(untied_x * untied_y)
    return float(score / norm) if norm else math.nan
