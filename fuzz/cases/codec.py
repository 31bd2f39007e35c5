"""Dataclasses as plain JSON data and back, strictly: a key or a value that does not fit is refused."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import torch

from msa_ref.config import require
from msa_ref.formats import ELEMENTS, format_of

Data = TypeVar("Data")


def to_data(value: Any) -> Any:
    """A dataclass, or what its fields hold, as plain data for JSON; torch dtypes by name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_data(item) for item in value]
    if isinstance(value, dict):
        return {key: to_data(item) for key, item in value.items()}
    return format_of(value).name if isinstance(value, torch.dtype) else value


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: one sentence naming the file, if it cannot be read or holds something else.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a file of JSON that can be read; got {error}") from error
    require(isinstance(data, dict), str(path), "must hold an object", type(data).__name__)
    return typing.cast(dict[str, Any], data)


def from_data(kind: type[Data], data: Any, where: str) -> Data:
    """Read plain JSON data as a value of `kind`.

    Args:
        kind: a dataclass, tuple[X, ...], list[X], dict[str, X], X | None, X or a tuple, a Literal, torch.dtype (by
            name), int, float, bool or str.
        where: the place of the data, for refusals.

    Raises:
        ValueError: one sentence naming the place, the rule and what was got.
    """
    return typing.cast(Data, _read(kind, data, where))


def _read(kind: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, data, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (tuple, list):
        require(isinstance(data, list), where, "must be a list", type(data).__name__)
        return origin(_read(args[0], value, f"{where}[{i}]") for i, value in enumerate(data))
    if origin is dict:
        require(isinstance(data, dict), where, "must be an object", type(data).__name__)
        return {key: _read(args[1], value, f"{where}.{key}") for key, value in data.items()}
    if origin in (types.UnionType, typing.Union):
        if data is None and type(None) in args:
            return None
        others = [arg for arg in args if arg is not type(None)]
        # Of a torch dtype or a pair of them, a list is the pair.
        return _read(others[-1 if isinstance(data, list) else 0], data, where)
    if origin is typing.Literal:
        require(data in args, where, f"must be one of {', '.join(map(str, args))}", repr(data))
        return data
    if kind is torch.dtype:
        require(data in tuple(ELEMENTS), where, f"must be one of {', '.join(ELEMENTS)}", repr(data))
        return ELEMENTS[data].dtype
    if kind is float and type(data) is int:
        return float(data)
    require(type(data) is kind, where, f"must be of type {kind.__name__}", repr(data))
    return data


def _read_fields(kind: Any, data: Any, where: str) -> Any:
    require(isinstance(data, dict), where, "must be an object", type(data).__name__)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in data:
        require(key in fields, where, f"must have no other keys than {', '.join(fields)}", repr(key))
    for name, field in fields.items():
        is_needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        require(name in data or not is_needed, where, f"must have the key {name!r}", f"only {', '.join(data)}")
    return kind(**{key: _read(hints[key], value, f"{where}.{key}") for key, value in data.items()})
