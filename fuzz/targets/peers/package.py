"""A package of somebody else: whether it is here, in which version, and how one module of it is imported.

An engine drags in gigabytes that its indexer never touches. Where it is not installed, a few of its files do:
`PEERS_PATH` names folders in which they lie as in site-packages, `vllm/models/minimax_m3/...` and, for the version,
`vllm-*.dist-info/METADATA` beside it. Modules are then imported from there without running the package's own
`__init__`; the few names that they import from elsewhere in it are stand-ins, written in this project.
"""

import importlib
import importlib.metadata
import os
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

from fuzz.targets.not_applicable import NotApplicable

VARIABLE = "PEERS_PATH"
"""Environment variable with folders that hold files of packages which are not installed, as PATH names folders."""

StandIns = Mapping[str, Mapping[str, object]]
"""Module -> its members."""


@dataclass(frozen=True)
class Package:
    """One package by name.

    distribution: its name in a registry. stand_ins: the modules that take the place of the package's own where only
        files of it are here; a function, because they need torch and triton.
    """

    name: str
    distribution: str
    stand_ins: Callable[[], StandIns] = dict

    def version(self, module: str) -> str | None:
        """The version that would be judged, `unknown` if nothing says it; None where `module` is not here."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            folder = self.folder(module)
        if folder is None:
            return None
        for metadata in sorted(folder.glob(f"{self.distribution.replace('-', '_')}-*.dist-info/METADATA")):
            return str(Parser().parsestr(metadata.read_text(), headersonly=True)["Version"])
        return "unknown"

    def folder(self, module: str) -> Path | None:
        """The folder of `PEERS_PATH` that holds a module's file; None if there is none."""
        file = Path(*module.split(".")).with_suffix(".py")
        return next((folder for folder in _folders() if (folder / file).is_file()), None)

    def file(self, path: str) -> Path | None:
        """A file of the package, by its path in site-packages: in a folder of `PEERS_PATH`, or installed."""
        installed = importlib.metadata.distributions(name=self.distribution)
        places = [folder / path for folder in _folders()]
        places += [Path(str(distribution.locate_file(path))) for distribution in installed]
        return next((place for place in places if place.is_file()), None)

    def module(self, name: str) -> types.ModuleType:
        """A module of the package: the installed one, else the file in a folder of `PEERS_PATH`.

        Raises:
            NotApplicable: if there is neither, or if it cannot be imported here.
        """
        if name in sys.modules:
            return sys.modules[name]
        folder = self.folder(name)
        try:
            return importlib.import_module(name)
        except Exception as error:
            if folder is None:
                raise NotApplicable(f"{name} cannot be imported here: {type(error).__name__}: {error}") from error
        self._stand_in(folder, name)
        return importlib.import_module(name)

    def _stand_in(self, folder: Path, name: str) -> None:
        """Make the packages above a module importable from a folder, and put the stand-ins in their places."""
        for known in [known for known in sys.modules if known == self.name or known.startswith(self.name + ".")]:
            del sys.modules[known]  # what is left of an import that failed
        for stand_in, members in self.stand_ins().items():
            _packages_above(folder, stand_in)
            sys.modules[stand_in] = _module(stand_in, None, members)
        _packages_above(folder, name)


def _folders() -> list[Path]:
    return [Path(word) for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word]


def _packages_above(folder: Path, name: str) -> None:
    """Enter the packages that a module is in: their files are found, and nothing of theirs is run."""
    parts = name.split(".")[:-1]
    for depth in range(1, len(parts) + 1):
        package = ".".join(parts[:depth])
        if package not in sys.modules:
            sys.modules[package] = _module(package, folder.joinpath(*parts[:depth]), {})


def _module(name: str, path: Path | None, members: Mapping[str, object]) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__path__ = [] if path is None else [str(path)]
    module.__dict__.update(members)
    return module
