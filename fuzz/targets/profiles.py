"""Profiles as JSON files, and in words."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from fuzz.cases.codec import from_data, to_data
from msa_ref.config import require
from msa_ref.profile import CONTRACT, Profile


def read_profile(path: Path) -> Profile:
    """The profile in a JSON file: an object with some of the fields of `msa_ref.profile.Profile`.

    dtypes are written by name, as in "bfloat16"; a field that is left out keeps the contract's value.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"profile must be a file of JSON that can be read; got {path}: {error}") from error
    require(isinstance(data, dict), str(path), "must hold an object", type(data).__name__)
    return from_data(Profile, {"name": path.stem} | data, str(path))


def promises_in_words(profile: Profile) -> str:
    """The promises that differ from the contract's, or `contract`."""
    names = [field.name for field in fields(Profile) if field.name != "name"]
    differing = [name for name in names if getattr(profile, name) != getattr(CONTRACT, name)]
    return ", ".join(f"{name} {_text(to_data(getattr(profile, name)))}" for name in differing) or "contract"


def _text(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)
