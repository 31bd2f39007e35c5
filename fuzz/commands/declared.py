"""Options declared once: a field of a command's dataclass is an option, and its type says how it is read.

A bool is a switch, with a --no- twin where it is on by default; a `tuple[X, ...]` may be repeated; everything else is
one value. `declare` makes the parser of such a dataclass, and `filled` makes the dataclass of what was parsed.
"""

import argparse
from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

Options = TypeVar("Options")


def option(
    words: str, default: object = MISSING, flag: str = "", settle: Callable[[Any], object] | None = None, **more: Any
) -> Any:
    """A field of a dataclass that is an option of a command, required if it has no default.

    Args:
        words: for --help. `%(default)s` stands for the default.
        flag: its name for a user, or several with spaces between them; by default the field's. A name without dashes is
            that of a positional argument.
        settle: makes the field of what was read.
        more: for `add_argument`.
    """
    return field(default=default, metadata={"words": words, "flag": flag, "settle": settle, "more": more})


def declare(parser: argparse.ArgumentParser, options: type[Any]) -> None:
    """Declare every field of a dataclass, in the order of its own class, then of the one that it inherits from."""
    hints, own = get_type_hints(options), list(options.__annotations__)
    for one in sorted(fields(options), key=lambda one: own.index(one.name) if one.name in own else len(own)):
        flag = one.metadata["flag"] or "--" + one.name.replace("_", "-")
        keywords = {"help": one.metadata["words"], **_reading(one, hints[one.name], flag), **one.metadata["more"]}
        parser.add_argument(*flag.split(), **keywords)


def _reading(one: Field[Any], hint: Any, flag: str) -> dict[str, Any]:
    """Keywords of `add_argument` that say how a field is read."""
    parts = [part for part in get_args(hint) if part not in (NoneType, Ellipsis)]
    if not flag.startswith("-"):
        return {"type": parts[0] if parts else hint}
    named: dict[str, Any] = {"dest": one.name, "required": one.default is MISSING}
    if hint is bool:
        if not one.default:
            return named | {"action": "store_true"}
        words = f"{one.metadata['words']} (default yes)"
        return named | {"action": argparse.BooleanOptionalAction, "default": True, "help": words}
    if Ellipsis in get_args(hint):
        named |= {"action": "append", "default": []}
    elif one.default is not MISSING:
        named["default"] = one.default
    if "choices" not in one.metadata["more"]:
        named["metavar"] = flag.lstrip("-").upper().replace("-", "_")
    return named | {"type": parts[0] if parts else hint}


def filled(options: type[Options], parsed: argparse.Namespace) -> Options:
    """The options that were parsed.

    Raises:
        ValueError: one sentence, if one of them breaks a rule.
    """
    values = {}
    for one in fields(options):  # type: ignore[arg-type]
        value = getattr(parsed, one.name)
        value = tuple(value) if isinstance(value, list) else value
        settle = one.metadata["settle"]
        values[one.name] = settle(value) if settle else value
    return options(**values)
