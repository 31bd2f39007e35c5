"""Results that are kept from run to run, by everything that they depend on."""

import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path

import triton
from triton import knobs

from msa_fast.compile_gate.compiled import Compiled
from msa_fast.compile_gate.configurations import Configuration


class Cache:
    """A folder of results as small files; without a folder nothing is kept.

    The key of a result is Triton's version, every source file of this package, and the configuration.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
        self.salt = hashlib.sha256(b"\0".join([triton.__version__.encode(), *sources])).hexdigest()

    @staticmethod
    def default() -> Path:
        """The folder beside Triton's own cache of compiled kernels."""
        return Path(knobs.cache.dir) / "compile_gate"

    def get(self, configuration: Configuration) -> Compiled | None:
        """The result of a configuration, if it is known."""
        path = self._path(configuration)
        if path is None or not path.exists():
            return None
        data = json.loads(path.read_text())
        return Compiled(**data) if data.keys() == {field.name for field in fields(Compiled)} else None

    def put(self, configuration: Configuration, result: Compiled) -> None:
        """Keep a result. Failures are not kept, so that the next run compiles them again."""
        path = self._path(configuration)
        if path is None or result.error:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(result.as_json()))
        unfinished.replace(path)

    def _path(self, configuration: Configuration) -> Path | None:
        if self.folder is None:
            return None
        parts = (self.salt, *(getattr(configuration, name) for name in ("kernel", "architecture", "spec", "source")))
        return self.folder / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}.json"
