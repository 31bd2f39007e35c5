"""Options that name places to write. They are checked at once: no verdict is lost to a slip of the pen."""

import os
from pathlib import Path
from typing import Any

from fuzz.commands.declared import option
from msa_ref.config import require


def file_option(words: str, flag: str = "", **more: Any) -> Any:
    """The field of an option that names a file to write, or none."""
    return option(words, None, flag, settle=file_to_write, **more)


def folder_option(words: str, default: Path) -> Any:
    """The field of an option that names a folder to write into."""
    return option(words, default, settle=folder_to_write)


def file_to_write(path: Path | None) -> Path | None:
    """The path, if a file can be written there; folders that are missing are made later.

    Raises:
        ValueError: one sentence.
    """
    if path is not None:
        rule = "must be a file that can be written"
        require(not path.is_dir(), str(path), rule, "a folder")
        require(not path.exists() or os.access(path, os.W_OK), str(path), rule, "one that is read-only")
        _require_folder(path.parent, str(path), rule)
    return path


def folder_to_write(path: Path) -> Path:
    """The path, if files can be written into that folder, or it can be made.

    Raises:
        ValueError: one sentence.
    """
    _require_folder(path, str(path), "must be a folder that can be written to")
    return path


def _require_folder(folder: Path, name: str, rule: str) -> None:
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    require(there.is_dir(), name, rule, f"{there}, which is a file")
    require(os.access(there, os.W_OK | os.X_OK), name, rule, f"{there}, which is read-only")
