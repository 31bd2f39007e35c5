"""Profiles as JSON files, and in words."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fuzz.cases.codec import from_data, read_object, to_data
from msa_ref.profile import CONFIG_SETS, CONTRACT, Profile, set_in_words


@dataclass(frozen=True)
class Run:
    """All integers from min to max, both among them."""

    min: int
    max: int


def read_profile(path: Path) -> Profile:
    """The profile in a JSON file: an object with some of the fields of `msa_ref.profile.Profile`.

    dtypes are written by name, as in "bfloat16", or as the pair of queries and keys, ["bfloat16", "float8_e4m3fn"]; a
    set of integers as a list, or as {"min": 1, "max": 32}. A field that is left out has the default of a profile.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """
    data = {"name": path.stem} | read_object(path)
    for name in CONFIG_SETS:
        if isinstance(data.get(name), dict):
            run = from_data(Run, data[name], f"{path}.{name}")
            data[name] = list(range(run.min, run.max + 1))
    return from_data(Profile, data, str(path))


def promises_in_words(profile: Profile) -> str:
    """The promises that differ from the contract's, or `contract`."""
    names = [field.name for field in fields(Profile) if field.name != "name"]
    differing = [name for name in names if getattr(profile, name) != getattr(CONTRACT, name)]
    return ", ".join(f"{name} {_text(getattr(profile, name))}" for name in differing) or "contract"


def _text(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return set_in_words(value)
    if not isinstance(value, tuple):
        return str(value)
    return "/".join(item if isinstance(item, str) else " with ".join(item) for item in to_data(value))
