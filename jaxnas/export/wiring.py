"""How feature maps flow through one architecture, as lines of PyTorch.

The wiring of a network is a function of arrays, whatever the space. It is traced once, with each place as an operation
of its own; what is known of the architecture folds away, and what is left are places, sums, slices, concatenations and
poolings. Lines that nothing reads are left out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as core
import jax.numpy as jnp
import numpy as np

from jaxnas.errors import UserError
from jaxnas.export.torch_layers import Layer, layers, sequence
from jaxnas.kernels.layout import Layout, from_nhwc, to_nhwc
from jaxnas.network.network import HEAD, Path, Walk
from jaxnas.network.ops import AvgPool, Identity, Zero
from jaxnas.network.walks import Ops, each_op
from jaxnas.spaces.blocks.architecture import ArchitectureModule, OpModule
from jaxnas.spaces.nasbench101.ops import MaxPool, Rectifier

PLACE = core.Primitive("place")  # stands for what a place does; only traced, never run
PLACE.def_abstract_eval(lambda x, *, path, shape: jax.core.ShapedArray(shape, x.dtype))
CALLS = {  # functions of the wiring, by name
    "relu": "F.relu({})",
    "mean_pool2x2": "F.avg_pool2d({}, 2)",
    "max_pool2x2": "F.max_pool2d({}, 2)",
    "stem_max_pool": "F.max_pool2d({}, 3, stride=2, padding=1)",
}
OPS = {  # operations without parameters
    AvgPool: "F.avg_pool2d({}, 3, stride=1, padding=1, count_include_pad=False)",
    MaxPool: "F.max_pool2d({}, 3, stride=1, padding=1)",
    Rectifier: "F.relu({})",
}
COPIES = ("broadcast_in_dim", "convert_element_type", "copy", "reshape")  # or a stack of one
MOVES = ("convert_element_type", "copy", "dynamic_slice", "gather", "reshape", "squeeze")  # out of a stack
INPUT = "x"

Value = np.ndarray | str | list
"""What is known while tracing: an array, the name of a feature map, or several of these in a stack."""


class Line(NamedTuple):
    """`target = code`.

    Attributes:
      target: the name that it gives to a feature map.
      code: an expression.
      reads: names of feature maps in it.
      layer: the attribute in it, which is a layer; empty if it has none.
    """

    target: str
    code: str
    reads: tuple[str, ...]
    layer: str = ""


class Wiring(NamedTuple):
    """What `read` finds: the lines, the last of which computes the logits, and the layers by the names in them."""

    lines: list[Line]
    layers: dict[str, Layer]


class PlaceWalk(Walk):
    """Leaves `PLACE` at every place."""

    def __init__(self, ops: Mapping[Path, Ops]):
        self.ops = ops

    def __call__(self, path: Path, x: jax.Array, choice: jax.Array | None = None) -> jax.Array:
        shape = next(each_op(self.ops[path])).out_shape(x.shape)
        return PLACE.bind(x, path=path, shape=shape)  # type: ignore[no-untyped-call]


def read(module: ArchitectureModule) -> Wiring:
    """The lines from the image `x` to the logits.

    Raises:
      UserError: the network has an operation that is not known here.
    """
    network = module.network
    arch: Any = np.array(module.arch)  # known while tracing
    layout, walk = network.config.layout, PlaceWalk(network.ops())
    image = jax.eval_shape(lambda: from_nhwc(jnp.zeros((1, *network.config.image)), layout))
    traced = jax.make_jaxpr(lambda x: network.wire(walk, arch, x)[-1])(image)
    reader = _Reader(module, layout)
    (last,) = reader.read(traced.jaxpr, traced.consts, [INPUT])
    (features,) = traced.out_avals
    reader.place(HEAD, last, features.shape, ())
    lines = _needed(reader.lines)
    return Wiring(lines, {line.layer: reader.layers[line.layer] for line in lines if line.layer})


class _Reader:
    """Reads a traced wiring."""

    def __init__(self, module: ArchitectureModule, layout: Layout):
        self.module, self.layout = module, layout
        self.lines: list[Line] = []
        self.layers: dict[str, Layer] = {}
        self.axes = (layout.batch, layout.channel, layout.height, layout.width)  # in PyTorch's order

    def read(self, jaxpr: core.Jaxpr, consts: Sequence[Any], arguments: Sequence[Value]) -> list[Value]:
        """The values of the outputs."""
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def value(of: Any) -> Value:
            return np.asarray(of.val) if isinstance(of, core.Literal) else known[of]

        for equation in jaxpr.eqns:
            results = self._equation(equation, [value(of) for of in equation.invars])
            known |= dict(zip(equation.outvars, results, strict=True))
        return [value(of) for of in jaxpr.outvars]

    def place(self, path: Path, x: Value, shape: Sequence[int], after: Sequence[int]) -> Value:
        """The output of the module at a place, of a shape `after` for an input of `shape`."""
        module = self.module.modules["/".join(map(str, path))]
        if isinstance(module, OpModule):
            op = module.op
            if isinstance(op, Zero):
                return np.zeros(after, np.float32)
            if isinstance(op, Identity):
                return x
            if isinstance(x, np.ndarray):
                return np.asarray(from_nhwc(module(to_nhwc(jnp.asarray(x), self.layout)), self.layout))
            if type(op) in OPS:
                return self.line(OPS[type(op)], (x, shape))
            raise UserError(f"--to torch does not know the operation {type(op).__name__}; say --to stablehlo or onnx")
        found = layers(module, shape[self.layout.channel])
        if not found:
            return x
        name = re.sub(r"\W+", "_", "_".join(map(str, path)))
        self.layers[name] = found[0] if len(found) == 1 else sequence(found)
        return self.line(f"self.{name}({{}})", (x, shape), layer=name)

    def line(self, code: str, *operands: tuple[Value, Sequence[int]], layer: str = "") -> str:
        """Add a line and return the name that it gives.

        Args:
          code: with a `{}` for each operand.
          operands: each with its shape.
          layer: as of `Line`.
        """
        names = [self._name(value, shape) for value, shape in operands]
        target = f"x{len(self.lines) + 1}"
        self.lines.append(Line(target, code.format(*names), tuple(names), layer))
        return target

    def _equation(self, equation: Any, values: list[Value]) -> list[Value]:
        name, how = equation.primitive.name, equation.params
        shapes = [of.aval.shape for of in equation.invars]
        after = equation.outvars[0].aval.shape
        inner = how.get("jaxpr", how.get("call_jaxpr"))
        if name == PLACE.name:
            return [self.place(how["path"], values[0], shapes[0], after)]
        if inner is not None:
            if how.get("name") in CALLS and isinstance(values[0], str):
                return [self.line(CALLS[how["name"]], (values[0], shapes[0]))]
            return self.read(inner.jaxpr, inner.consts, values)
        if all(isinstance(value, np.ndarray) for value in values):
            found = equation.primitive.bind(*map(jnp.asarray, values), **how)
            return [np.asarray(array) for array in (found if equation.primitive.multiple_results else [found])]
        if name in READ:
            return [READ[name](self, how, [*zip(values, shapes, strict=True)], after)]
        if isinstance(values[0], str) and name in COPIES and after in (shapes[0], (1, *shapes[0])):
            return [values[0] if after == shapes[0] else [values[0]]]
        if name.startswith(("scatter", "dynamic_update_slice")):
            return [self._put(equation, values, shapes)]
        if isinstance(values[0], list) and name in MOVES:
            return [_taken(equation, values, shapes[0])]
        raise UserError(f"--to torch does not know the operation {name}; say --to flax, stablehlo or onnx")

    def add(self, one: tuple[Value, Any], other: tuple[Value, Any]) -> Value:
        """The sum; of zeros there is no line."""
        if _is_zero(one[0]):
            return other[0]
        return one[0] if _is_zero(other[0]) else self.line("{} + {}", one, other)

    def _put(self, equation: Any, values: list[Value], shapes: list[tuple[int, ...]]) -> Value:
        """A stack with one of its feature maps replaced, or added to: that at which ones arrive among zeros."""
        primitive, position = equation.primitive, 2 if equation.primitive.name.startswith("scatter") else 1
        operands = [jnp.asarray(value) if i not in (0, position) else value for i, value in enumerate(values)]
        operands[0], operands[position] = jnp.zeros(shapes[0]), jnp.ones(shapes[position])
        marked = np.asarray(primitive.bind(*operands, **equation.params))
        (row,) = np.flatnonzero(marked.reshape(len(marked), -1).all(1))
        stack, update, shape = list(values[0]), values[position], shapes[0][1:]
        one = update[0] if isinstance(update, list) else update
        adds = primitive.name in ("scatter-add", "scatter_add")
        stack[row] = self.add((stack[row], shape), (one, shape)) if adds else one
        return stack

    def _name(self, value: Value, shape: Sequence[int]) -> str:
        if isinstance(value, str):
            return value
        if not isinstance(value, np.ndarray) or value.any():
            raise UserError("--to torch cannot write this network; say --to flax, stablehlo or onnx")
        _, *sizes = (shape[axis] for axis in self.axes)
        return f"{INPUT}.new_zeros(len({INPUT}), {', '.join(map(str, sizes))})"


Operand = tuple[Value, tuple[int, ...]]
Read = Callable[[_Reader, Mapping[str, Any], list[Operand], tuple[int, ...]], Value]


def _add(reader: _Reader, how: Mapping[str, Any], operands: list[Operand], after: tuple[int, ...]) -> Value:
    one, other = operands
    return reader.add(one, other)


def _concatenate(reader: _Reader, how: Mapping[str, Any], operands: list[Operand], after: tuple[int, ...]) -> Value:
    if len(operands[0][1]) > len(reader.axes):  # a longer stack
        return [one for value, _ in operands for one in value]
    axis = reader.axes.index(how["dimension"])
    return reader.line(f"torch.cat([{', '.join(['{}'] * len(operands))}], {axis})", *operands)


def _slice(reader: _Reader, how: Mapping[str, Any], operands: list[Operand], after: tuple[int, ...]) -> Value:
    ((value, shape),) = operands
    if isinstance(value, list):
        return value[how["start_indices"][0] : how["limit_indices"][0]]
    if after == shape:
        return value
    steps = how["strides"] or (1,) * len(shape)
    cuts = []
    for axis in reader.axes:
        begin, end, step = how["start_indices"][axis], how["limit_indices"][axis], steps[axis]
        whole = (begin, end, step) == (0, shape[axis], 1)
        cuts.append(":" if whole else f"{begin or ''}:{end}{f':{step}' if step > 1 else ''}")
    return reader.line(f"{{}}[{', '.join(cuts)}]", (value, shape))


def _select(reader: _Reader, how: Mapping[str, Any], operands: list[Operand], after: tuple[int, ...]) -> Value:
    (which, _), *cases = operands
    (chosen,) = np.unique(np.asarray(which).astype(int))
    return cases[chosen][0]


READ: dict[str, Read] = {
    "add": _add,
    "add_any": _add,
    "concatenate": _concatenate,
    "slice": _slice,
    "select_n": _select,
}


def _taken(equation: Any, values: list[Value], shape: tuple[int, ...]) -> Value:
    """What one of `MOVES` takes of a stack: found by running it on a stack of numbers."""
    numbers = np.broadcast_to(np.arange(len(values[0])).reshape(-1, *[1] * (len(shape) - 1)), shape)
    rest = [jnp.asarray(value) for value in values[1:]]
    found = np.asarray(equation.primitive.bind(jnp.asarray(numbers), *rest, **equation.params))
    rows = found.reshape(-1, int(np.prod(shape[1:])))[:, 0].astype(int)
    return [values[0][row] for row in rows] if found.ndim == len(shape) else values[0][rows[0]]


def _is_zero(value: Value) -> bool:
    return isinstance(value, np.ndarray) and not value.any()


def _needed(written: list[Line]) -> list[Line]:
    """The lines that the last one needs."""
    wanted, kept = {written[-1].target}, list[Line]()
    for line in reversed(written):
        if line.target in wanted:
            wanted |= {*line.reads}
            kept.append(line)
    return kept[::-1]
