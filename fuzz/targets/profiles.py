"""Profiles as JSON files, and in words."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from fuzz.cases.codec import from_data, read_object, to_data
from msa_ref.profile import CONTRACT, Profile


def read_profile(path: Path) -> Profile:
    """The profile in a JSON file: an object with some of the fields of `msa_ref.profile.Profile`.

    dtypes are written by name, as in "bfloat16"; a field that is left out keeps the contract's value.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """
    return from_data(Profile, {"name": path.stem} | read_object(path), str(path))


def promises_in_words(profile: Profile) -> str:
    """The promises that differ from the contract's, or `contract`."""
    names = [field.name for field in fields(Profile) if field.name != "name"]
    differing = [name for name in names if getattr(profile, name) != getattr(CONTRACT, name)]
    return ", ".join(f"{name} {_text(to_data(getattr(profile, name)))}" for name in differing) or "contract"


def _text(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)
