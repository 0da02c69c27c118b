"""What the options of a command say of themselves: text that fills the lines of `--help`, and what they may be."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import tyro
from docstring_parser.attrdoc import AttributeDocstrings


def documented(config_class: type[Any]) -> type[Any]:
    """A dataclass with the same options, whose help is in lines as long as the terminal has.

    tyro breaks lines where the source does. What this one parses is of no use: it is made to be shown.
    """
    hints = typing.get_type_hints(config_class, include_extras=True)
    said = texts(config_class)
    options = [_option(field, hints[field.name], said.get(field.name)) for field in dataclasses.fields(config_class)]
    shown = dataclasses.make_dataclass(config_class.__name__, options, frozen=True, kw_only=True)
    shown.__doc__ = config_class.__doc__
    return shown


def choices(config_class: type[Any]) -> dict[str, tuple[str, ...]]:
    """What an option may be, by its name, of those that are one of a few words."""
    found: dict[str, tuple[str, ...]] = {}
    for option, hint in flat(config_class):
        for one in (hint, *typing.get_args(hint)):
            if typing.get_origin(one) is typing.Literal:
                found[option] = tuple(word for word in typing.get_args(one) if isinstance(word, str))
    return found


def flat(config_class: type[Any], prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Yield the long options, those of groups with a dot, each with its type; not what stands without a name."""
    marked, hints = (typing.get_type_hints(config_class, include_extras=extras) for extras in (True, False))
    for name in [field.name for field in dataclasses.fields(config_class) if field.init]:
        hint = hints[name]
        option = prefix + name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            yield from flat(typing.cast(type[Any], hint), f"{option}.")
        elif tyro.conf.Positional not in typing.get_args(marked[name])[1:]:
            yield option, hint


def texts(config_class: type[Any]) -> dict[str, str]:
    """The text under each field, that of a subclass before that of its base, each paragraph in one line."""
    classes = [one for one in reversed(config_class.__mro__) if "__dataclass_fields__" in vars(one)]
    found = {name: of[0] for one in classes for name, of in AttributeDocstrings().get_attr_docs(one).items()}
    return {name: "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")) for name, text in found.items()}


def _option(field: dataclasses.Field[Any], hint: Any, text: str | None) -> tuple[str, Any, Any]:
    if dataclasses.is_dataclass(hint):
        group = documented(typing.cast(type[Any], hint))
        return field.name, group, dataclasses.field(default_factory=group)
    default = dataclasses.field(default=field.default, default_factory=field.default_factory)  # type: ignore[call-overload]
    is_nothing = field.default is None or field.default is False or field.default == ()
    by_default = "" if is_nothing else None  # which needs no words
    shown = tyro.conf.arg(help=text, help_behavior_hint=by_default, metavar=_metavar(hint))
    return field.name, Annotated[hint, shown], default


def _metavar(hint: Any) -> str | None:
    """What to give for an optional value; None for what tyro or the hint itself says."""
    if typing.get_origin(hint) is Annotated:
        hint, *metadata = typing.get_args(hint)
        if any(getattr(one, "metavar", None) for one in metadata):
            return None
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    (one, *others) = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if typing.get_origin(one) is typing.Literal:
        return "{" + ",".join(map(str, typing.get_args(one))) + "}"
    return one.__name__.upper() if not others and isinstance(one, type) else None
