"""A target whose source file is broken at one place: the suite's own, or a stranger's.

A file of `msa_fast` is broken in a copy of the package, as mutants are. Any other is broken where it is imported: the
process that looks for the target reads other text than the file's.
"""

import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from fuzz.canaries.breaks import Break, breaks_of
from fuzz.canaries.defect import Defect
from fuzz.canaries.kernels.mutant import folder_of_kernels, mutants_of
from fuzz.targets import BUILT_IN, Call, Target, find
from msa_ref.config import require

AS_IT_IS, NOT_AT_ALL = "as it is", "not at all"
"""Words where the number of a break stands: the file without one, and one that cannot be imported."""
_RAISES = "raise ImportError('this file is broken as a whole')\n"
_SEPARATOR = "#"


class Mutated(Defect):
    """A target with one break of one file, or with a control."""

    @property
    def target_name(self) -> str:
        """The name by which any process finds its target."""
        return self.target.name


def mutated(path: Path, target: Target, number: int | str) -> Mutated:
    """A target with one break of a file, as any process finds it by its name.

    number: of the break, among all of the file; `AS_IT_IS` or `NOT_AT_ALL`.

    Raises:
        ValueError: one sentence, if the file cannot be broken for that target.
    """
    path = path.resolve()
    require(not set("@#") & set(str(path)), "file", "must have a path without @ and #", repr(str(path)))
    if path.is_relative_to(folder_of_kernels()):
        rule = f"must be one of {', '.join(BUILT_IN)} for a file of msa_fast"
        require(target.name in BUILT_IN, "target", rule, repr(target.name))
    sentence = f"{path.name}, {number if isinstance(number, str) else breaks_in(path)[number]}"
    words = _SEPARATOR.join((str(path), str(number), target.name))
    named = replace(target, name=f"{__name__}:{words}", sentence=sentence)
    name = f"break_{number}_of_{path.stem}".replace(" ", "_")
    return Mutated(name, "mutant", "systematic", sentence, ("Runs",), named)


@cache
def breaks_in(path: Path) -> list[Break]:
    """The breaks of a file."""
    return breaks_of(path.read_text())


# `fuzz.targets.find` looks up `module:name` as an attribute.
def __getattr__(name: str) -> Target:
    """The target of a `Mutated`, as the attribute of this module that its name says."""
    if name.count(_SEPARATOR) != 2:
        raise AttributeError(name)
    return _target(*name.split(_SEPARATOR))


@cache
def _target(file: str, number: str, inner: str) -> Target:
    """The target; made once in a process, which has no other of that file."""
    path = Path(file)
    if path.is_relative_to(folder_of_kernels()):
        return _on_broken_kernels(path, number, inner)
    sys.meta_path.insert(0, _Breaker(path, _text(path, number)))
    try:
        return find(inner)
    except ValueError as refusal:
        return Target(inner, "Cannot be imported.", "foreign", partial(_refuse, str(refusal)))


def _refuse(words: str, call: Call) -> NoReturn:
    """The run of a target that cannot be imported."""
    raise ImportError(words)


def _text(path: Path, number: str) -> str:
    """The text of a file with one break, or as a control has it."""
    if number == NOT_AT_ALL:
        return _RAISES
    text = path.read_text()
    return text if number == AS_IT_IS else breaks_in(path)[int(number)].applied(text)


def _on_broken_kernels(path: Path, number: str, inner: str) -> Target:
    """A built-in target on a copy of `msa_fast` that has a file's text with one break."""
    old, new = path.read_text(), _text(path, number)
    make = mutants_of(str(path.relative_to(folder_of_kernels())), inner)
    return make(f"of_{path.stem}_{number}".replace(" ", "_"), "A break.", old, new, ("Runs",)).target


class _Breaker(MetaPathFinder):
    """Finds what other finders find, and gives one file another text."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._loader = _Text(text)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own specification, or one with the file's other text."""
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Breaker) else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.origin is None or not spec.has_location or Path(spec.origin).resolve() != self._path:
                    return spec
                folders = spec.submodule_search_locations
                return importlib.util.spec_from_file_location(
                    name, spec.origin, loader=self._loader, submodule_search_locations=folders
                )
        return None


class _Text(Loader):
    """Executes a text as a module."""

    def __init__(self, text: str) -> None:
        self._text = text

    def exec_module(self, module: ModuleType) -> None:
        """Execute it from a file: Triton reads a kernel's source where its code says that it lies."""
        with tempfile.NamedTemporaryFile("w", prefix="fuzz-broken-", suffix=".py", delete=False) as file:
            file.write(self._text)
        exec(compile(self._text, file.name, "exec"), vars(module))
