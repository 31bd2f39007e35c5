"""A mutant is data: a fragment of the kernels' source and what stands there instead.

The sources of `msa_fast` are copied under another package name into a temporary folder, the
fragment exchanged on the way, and imported from there: Triton reads a kernel's source from its
file. The fragment must be in the file exactly as often as the mutant says, so that a change of the
kernels cannot leave a mutant behind that breaks nothing.
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
from typing import Any

import torch

from fuzz.targets import BUILT_IN, Call, Target
from fuzz.targets.built_in import on_package
from msa_ref.config import require

NEEDS = ("gpu", "graph", "large memory", "fence", "tiles of rows")
"""fence: memory that ends where tensors do (`fuzz.inputs.guard_pages`); a CPU has it.
tiles of rows: selection programs of several rows, which only the interpreter runs (`msa_fast.ops.launch_table`)."""


@dataclass(frozen=True)
class Mutant:
    """One planted defect.

    id: an identifier. sentence: the defect.
    path: the file, within `msa_fast`. old, new: the fragment and its replacement; `old` occurs once,
        or `count` times, of which number `nth` (from 0) is replaced.
    target: the built-in target that it breaks. laws: of these one at least must catch it.
    defect: its row in the list of field defects, or `systematic`.
    needs: what a machine must have to show it; of `NEEDS`.
    equivalent: one sentence that proves that no answer can change; empty for a defect.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """

    id: str
    sentence: str
    path: str
    old: str
    new: str
    target: str
    laws: tuple[str, ...] = ()
    defect: str = "systematic"
    nth: int = 0
    count: int = 1
    needs: tuple[str, ...] = ()
    equivalent: str = ""

    def __post_init__(self) -> None:
        require(self.id.isidentifier(), "id", "must be an identifier", repr(self.id))
        require(self.target in BUILT_IN, "target", f"must be one of {', '.join(BUILT_IN)}", repr(self.target))
        require(set(self.needs) <= set(NEEDS), "needs", f"must be of {', '.join(NEEDS)}", list(self.needs))
        require(0 <= self.nth < self.count, "nth", f"must be within 0 .. {self.count - 1}", self.nth)
        require(bool(self.laws) != bool(self.equivalent), "laws", "must be named unless it is equivalent", self.id)

    def original(self) -> str:
        """The file as it is."""
        return (_sources() / self.path).read_text()

    def source(self) -> str:
        """The file with the fragment replaced.

        Raises:
            ValueError: one sentence, if the fragment is not there as often as it should be.
        """
        parts = self.original().split(self.old)
        got = len(parts) - 1
        require(got == self.count, f"{self.id}.old", f"must occur {self.count} x in {self.path}", got)
        before, after = self.old.join(parts[: self.nth + 1]), self.old.join(parts[self.nth + 1 :])
        return before + self.new + after

    @property
    def as_target(self) -> Target:
        """What the gate can judge. The copy is made when it first runs."""
        target = BUILT_IN[self.target]
        return replace(target, name=self.id, sentence=self.sentence, run=partial(_run, self))


def mutants_of(path: str, target: str, *needs: str) -> Callable[..., Mutant]:
    """The maker of a file's mutants: (id, sentence, old, new, laws), and by name what else an entry says.

    target, needs: those of its mutants that say nothing else.
    """

    def make(
        id: str, sentence: str, old: str, new: str, laws: tuple[str, ...] = (), target: str = target, **rest: Any
    ) -> Mutant:
        return Mutant(id, sentence, path, old, new, target, laws, **({"needs": needs} | rest))

    return make


def _run(mutant: Mutant, call: Call) -> torch.Tensor:
    return on_package(mutant.target, package_of(mutant))(call)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """For the copies of this process; goes with it."""
    return tempfile.TemporaryDirectory(prefix="fuzz-mutants-", ignore_cleanup_errors=True)


def package_of(mutant: Mutant) -> str:
    """The name of the mutant's own `msa_fast`, imported; made on the first call in a process."""
    name = f"msa_fast_{mutant.id}"
    if name in sys.modules:
        return name
    source, folder = mutant.source(), Path(_folder().name) / name
    shutil.copytree(_sources(), folder, ignore=shutil.ignore_patterns("__pycache__", "bench", "compile_gate"))
    (folder / mutant.path).write_text(source)
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


def _sources() -> Path:
    """The folder of `msa_fast`, found without importing it: Triton is not needed to read it."""
    spec = importlib.util.find_spec("msa_fast")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])
