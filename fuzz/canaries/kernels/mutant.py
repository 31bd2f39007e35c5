"""A mutant is data: a fragment of the kernels' source, and the text that replaces it.

The sources of `msa_fast` are copied under another package name into a temporary folder, the fragment
is exchanged on the way, and the copy is imported: Triton reads a kernel's source from its file. The
fragment must be in the file exactly as often as the mutant says, so that a change of the kernels
cannot leave a mutant behind that breaks nothing.
"""

import importlib.util
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch

from fuzz.canaries.defect import Defect
from fuzz.cases.case import Case
from fuzz.targets import BUILT_IN, Call
from fuzz.targets.built_in import bind_decode, on_package, started_on_package
from fuzz.targets.target import Bound, Run
from msa_ref.config import require


@dataclass(frozen=True)
class Fragment:
    """A piece of one file of `msa_fast`, and its replacement.

    path: the file, within `msa_fast`. old, new: the piece and its replacement; `old` occurs once,
        or `count` times, of which number `nth` (from 0) is replaced.

    Raises:
        ValueError: one sentence, if there is no such occurrence.
    """

    path: str
    old: str
    new: str
    nth: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        require(0 <= self.nth < self.count, "nth", f"must be within 0 .. {self.count - 1}", self.nth)

    def original(self) -> str:
        """The file as it is."""
        return source_of(self.path)

    def mutated(self) -> str:
        """The file with the fragment replaced.

        Raises:
            ValueError: one sentence, if the fragment is not there as often as it should be.
        """
        parts = self.original().split(self.old)
        rule = f"must occur {self.count} x in {self.path}"
        require(len(parts) - 1 == self.count, f"fragment {self.old!r}", rule, len(parts) - 1)
        before, after = self.old.join(parts[: self.nth + 1]), self.old.join(parts[self.nth + 1 :])
        return before + self.new + after


@dataclass(frozen=True, kw_only=True)
class Mutant(Defect):
    """A defect planted in the real kernels."""

    fragment: Fragment

    def source(self) -> str:
        """The file with the fragment replaced."""
        return self.fragment.mutated()


def mutants_of(path: str, target: str, *needs: str) -> Callable[..., Mutant]:
    """The maker of a file's mutants: (name, sentence, old, new, laws), and by keyword what else an entry says.

    target: the built-in target that they break. needs: what a machine must have to show them. An entry
    may name others.
    """

    def make(
        name: str,
        sentence: str,
        old: str,
        new: str,
        laws: tuple[str, ...] = (),
        *,
        target: str = target,
        needs: tuple[str, ...] = needs,
        defect: str = "systematic",
        equivalent: str = "",
        nth: int = 0,
        count: int = 1,
    ) -> Mutant:
        require(target in BUILT_IN, "target", f"must be one of {', '.join(BUILT_IN)}", repr(target))
        fragment = Fragment(path, old, new, nth, count)
        run = partial(_run, name, fragment, target)
        bind = None if BUILT_IN[target].bind is None else partial(_bind, name, fragment)
        start = None if BUILT_IN[target].start is None else partial(_start, name, fragment, target)
        broken = replace(BUILT_IN[target], name=name, sentence=sentence, run=run, bind=bind, start=start)
        return Mutant(name, "mutant", defect, sentence, laws, broken, needs, equivalent, fragment=fragment)

    return make


def _run(name: str, fragment: Fragment, target: str, call: Call) -> torch.Tensor:
    """Run a built-in target on the kernels of a mutant. The copy is made when it first runs."""
    return on_package(target, package_of(name, fragment))(call)


def _bind(name: str, fragment: Fragment, call: Call) -> Bound:
    """Bind decode on the kernels of a mutant."""
    return bind_decode(call, package_of(name, fragment))


def _start(name: str, fragment: Fragment, target: str, call: Call, case: Case) -> Run:
    """Start a built-in target on the classes of a mutant."""
    return started_on_package(target, package_of(name, fragment))(call, case)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """The folder of this process's copies; it ends with the process."""
    return tempfile.TemporaryDirectory(prefix="fuzz-mutants-", ignore_cleanup_errors=True)


def package_of(mutant: str, fragment: Fragment) -> str:
    """The name of a mutant's own `msa_fast`, imported; made on the first call in a process."""
    name = f"msa_fast_{mutant}"
    if name in sys.modules:
        return name
    source, folder = fragment.mutated(), Path(_folder().name) / name
    shutil.copytree(folder_of_kernels(), folder, ignore=shutil.ignore_patterns("__pycache__", "bench", "compile_gate"))
    (folder / fragment.path).write_text(source)
    for file in folder.rglob("*.py"):
        text = file.read_text()
        file.write_text(re.sub(r"^(\s*(?:from|import) )msa_fast\b", rf"\g<1>{name}", text, flags=re.MULTILINE))
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = package = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[name]
        raise
    return name


def source_of(path: str) -> str:
    """The text of a file, within `msa_fast`."""
    return (folder_of_kernels() / path).read_text()


def folder_of_kernels() -> Path:
    """The folder of `msa_fast`, found without importing it: Triton is not needed to read it."""
    spec = importlib.util.find_spec("msa_fast")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]).resolve()
