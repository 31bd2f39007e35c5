"""Profiles as JSON files and in words: what a target promises, and where it promises nothing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from msa_ref.config import require
from msa_ref.profile import CONTRACT, Profile


def read_profile(path: Path) -> Profile:
    """The profile in a JSON file: an object with some of the fields of `msa_ref.profile.Profile`.

    dtypes are written by name, as in "bfloat16"; what is left out keeps the contract's value.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """
    data = json.loads(path.read_text())
    require(isinstance(data, dict), str(path), "must hold an object", type(data).__name__)
    names = [field.name for field in dataclasses.fields(Profile)]
    fields: dict[str, Any] = {"name": path.stem}
    for key, value in data.items():
        require(key in names, str(path), f"must have no other keys than {', '.join(names)}", repr(key))
        if key == "dtypes":
            known = {str(dtype).removeprefix("torch."): dtype for dtype in CONTRACT.dtypes}
            for name in value:
                require(name in known, "dtypes", f"must be of {', '.join(known)}", repr(name))
            value = [known[name] for name in value]
        fields[key] = tuple(value) if isinstance(value, list) else value
    return Profile(**fields)


def in_words(profile: Profile) -> str:
    """The promises that differ from the contract's, or `contract`."""
    told = []
    for field in dataclasses.fields(Profile):
        value = getattr(profile, field.name)
        if field.name != "name" and value != getattr(CONTRACT, field.name):
            told.append(f"{field.name} {_text(value)}")
    return ", ".join(told) or "contract"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(_text(item) for item in value)
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else str(value)
