"""Values written as text: JSON, Python literals, calls of known names, NumPy's prints of arrays. Read, never run."""

import ast
import json
import re
import warnings
from collections.abc import Sequence
from typing import Any

WORDS = {"true": True, "false": False, "null": None, "True_": True, "False_": False}
WRAPPERS = re.compile(
    r"list|tuple|array|asarray|tensor|str_?|float\d*|u?int\d*|bool_?"
)  # of one value; it is the value
QUOTED = re.compile(r"(?<=['\"])\s+(?=['\"])")
GAP = re.compile(r"(?<=[\w.\]'\"])\s+(?=[\w.\[\-'\"])")  # where NumPy leaves out a comma
INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
ROW = re.compile(r"\[|(\w+\.)?(array|asarray|tensor)\(|[0-9]+([\s,]+[0-9]+)+\s*,?$")
FAILURES = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)


def read(text: str) -> Any:
    """The numbers, strings, lists, tuples, ranges and dictionaries of a text.

    Raises:
      ValueError: it is something else; the message says what.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    commas = GAP.sub(", ", text)
    reasons = []
    for wording in (commas,) if QUOTED.search(text) else (text, commas):
        try:
            return value(parsed(wording))
        except FAILURES as error:
            reasons.append(_reason(error))
    raise ValueError(reasons[0])


def arguments(text: str, name: str, fields: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of the call of `name` in a text, say a log line, by field; None where there is no call.

    Raises:
      ValueError: there are several calls, or an argument is no plain value.
    """
    starts = [match.start() for match in re.finditer(rf"\b{name}\s*\(", text)]
    if not starts:
        return None
    if len(starts) > 1:
        raise ValueError(f"{len(starts)} calls of {name}; give one")
    try:
        call = parsed(text[starts[0] : _end(text, starts[0])])
        assert isinstance(call, ast.Call)
        if len(call.args) > len(fields):
            raise ValueError(f"{name} has {len(call.args)} arguments instead of {len(fields)}")
        pairs = [*zip(fields, call.args, strict=False), *((word.arg or "**", word.value) for word in call.keywords)]
        if len(pairs) > len(found := {key: value(node) for key, node in pairs}):
            raise ValueError(f"{name} has an argument twice")
        return found
    except FAILURES as error:
        raise ValueError(_reason(error)) from None


def index(text: str) -> int | None:
    """The number that a text consists of, None if it is something else."""
    return int(text) if INDEX.fullmatch(text := text.strip()) else None


def row(text: str) -> list[int] | None:
    """The integers of `[3, 1, 2]`, `3, 1, 2`, `[3 1 2]` or `array([3, 1, 2])`; None if it is something else."""
    text = text.strip()
    if not ROW.match(text) or INDEX.fullmatch(text):
        return None
    try:
        numbers = read(text if text[-1] in ")]" else f"[{text}]")
    except ValueError:
        return None
    whole = isinstance(numbers, list) and numbers and all(type(number) is int for number in numbers)
    return numbers if whole else None


def parsed(text: str) -> ast.expr:
    """The expression that a text is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in strings
        return ast.parse(text.strip(), mode="eval").body


def value(node: ast.expr) -> Any:
    """The value of an expression without names, operators and calls other than those known here."""
    match node:
        case ast.Constant(value=found):
            return found
        case ast.Name(id=word) | ast.Attribute(attr=word) if word in WORDS:
            return WORDS[word]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=nodes):
            return [value(each) for each in nodes]
        case ast.Tuple(elts=nodes):
            return tuple(value(each) for each in nodes)
        case ast.Dict(keys=keys, values=nodes) if None not in keys:
            return {value(key): value(each) for key, each in zip(keys, nodes, strict=True) if key is not None}
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args):
            return _called(name, [value(each) for each in args])
    raise ValueError(f"{ast.unparse(node)[:60]!r} is no plain value")


def _called(name: str, args: list[Any]) -> Any:
    if name == "range":
        return range(*args)
    if name in ("dict", "OrderedDict") and len(args) == 1:
        return dict(args[0])
    if WRAPPERS.fullmatch(name) and len(args) == 1:
        return args[0]
    raise ValueError(f"{name}(...) is no plain value")


def _end(text: str, start: int) -> int:
    """Where the first bracket after `start` is closed again, or the end of the text."""
    depth, quote = 0, ""
    for place in range(start, len(text)):
        mark = text[place]
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        elif mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
            if depth == 0:
                return place + 1
    return len(text)


def _reason(error: Exception) -> str:
    return (error.msg if isinstance(error, SyntaxError) else str(error)) or type(error).__name__
