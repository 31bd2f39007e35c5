"""Checks that the compiled configurations reach every kernel and every entry of the launch tables.

An entry is reached if a change of its value changes a compiled configuration. This needs no knowledge of how a
table is looked up, so it also holds for tables that do not exist yet.
"""

import contextlib
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator, Set
from types import ModuleType
from typing import Any
from unittest import mock

from triton.runtime.jit import JITFunction

import msa_fast
import msa_fast.ops
from msa_fast.compile_gate.architectures import ARCHITECTURES, Architecture
from msa_fast.compile_gate.configurations import Configuration, run_calls
from msa_fast.compile_gate.sweep import Call, calls
from msa_fast.ops import launch_table as launch_tables
from msa_fast.ops.sharing import IS_WIDE_FAST

Entry = tuple[str, Any]
"""A table's name in `msa_fast.ops.launch_table`, and an entry's key or index."""
UNSWEPT = () if IS_WIDE_FAST else ("msa_fast.ops.hopper.score_wide:_score_wide_sm90_kernel",)
"""Kernels that no plan of itself launches with this release of Triton, whose assembler spills there."""


def uncovered(configurations: Iterable[Configuration]) -> list[str]:
    """Entries of the launch tables and kernels that no configuration reaches: one sentence each."""
    configurations = list(configurations)
    problems = [
        f"{table}[{key!r}] of msa_fast.ops.launch_table is chosen by no call of the sweep for any GPU of the gate"
        for table, key in unreached(configurations)
    ]
    return problems + unlaunched(configurations)


def unlaunched(configurations: Iterable[Configuration]) -> list[str]:
    """Kernels that no configuration compiles: one sentence each."""
    launched = {configuration.kernel for configuration in configurations}
    missing = [name for name in kernels() if name not in launched and name not in UNSWEPT]
    return [f"{name} is launched by no call of the sweep" for name in missing]


def unreached(configurations: Iterable[Configuration]) -> list[Entry]:
    """Entries of the launch tables whose change changes none of these configurations."""
    reached = reaching(entries(), configurations)
    return [entry for entry in entries() if entry not in reached]


def reaching(wanted: Iterable[Entry], configurations: Iterable[Configuration]) -> dict[Entry, Configuration]:
    """Entry -> a configuration that changes with it; entries without one are left out."""
    compiled: dict[tuple[str, str], dict[str, Configuration]] = {}
    for configuration in configurations:
        of_call = compiled.setdefault((configuration.label, configuration.architecture), {})
        of_call[configuration.spec] = configuration
    left, found = list(wanted), {}
    # Calls outside, architectures inside: an entry that few calls reach on one is reached by most calls on another.
    for call in calls():
        for architecture in ARCHITECTURES.values():
            specs = compiled.get((str(call), architecture.name), {})
            mine = [entry for entry in left if specs and not _belongs_elsewhere(entry, architecture)]
            for entry, spec in _read_by(mine, specs.keys(), call, architecture):
                found[entry] = specs[spec]
                left.remove(entry)
    return found


def _read_by(
    candidates: list[Entry], specs: Set[str], call: Call, architecture: Architecture
) -> Iterator[tuple[Entry, str]]:
    """The entries whose change changes a call's specs, each with such a spec; most calls read none of them."""
    changed = specs - _specs_with_changed(candidates, call, architecture) if candidates else set()
    if len(candidates) == 1 and changed:
        yield candidates[0], min(changed)
    elif changed:
        middle = len(candidates) // 2
        for half in (candidates[:middle], candidates[middle:]):
            yield from _read_by(half, specs, call, architecture)


def entries() -> list[Entry]:
    """Every entry of every table (dict, tuple or list) of `msa_fast.ops.launch_table`."""
    found: list[Entry] = []
    for name, value in vars(launch_tables).items():
        if name.startswith("_") or not isinstance(value, dict | tuple | list):
            continue
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        found += [(name, key) for key in keys if "interpreter" not in (key if isinstance(key, tuple) else (key,))]
    return found


def _belongs_elsewhere(entry: Entry, architecture: Architecture) -> bool:
    """True if an entry is of another architecture."""
    key = entry[1] if isinstance(entry[1], tuple) else (entry[1],)
    return any(part in ARCHITECTURES and part != architecture.name for part in key)


def _specs_with_changed(entries: list[Entry], call: Call, architecture: Architecture) -> set[str]:
    with contextlib.ExitStack() as stack:
        for entry in entries:
            stack.enter_context(_changed(entry))
        return {configuration.spec for configuration in run_calls([call], [architecture]).configurations}


@contextlib.contextmanager
def _changed(entry: Entry) -> Iterator[None]:
    """Every number of one entry is doubled, wherever the table has been imported to."""
    name, key = entry
    table = getattr(launch_tables, name)
    if isinstance(table, dict):
        with mock.patch.dict(table, {key: _doubled(table[key])}):
            yield
        return
    changed = type(table)(_doubled(value) if i == key else value for i, value in enumerate(table))
    with contextlib.ExitStack() as stack:
        for module in _modules():
            for attribute, value in list(vars(module).items()):
                if value is table:
                    stack.enter_context(mock.patch.object(module, attribute, changed))
        yield


def _doubled(value: Any) -> Any:
    """A value of the same shape with other numbers."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return 2 * value or 1
    if isinstance(value, tuple | list):
        return type(value)(map(_doubled, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        numbers = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        changed = {name: _doubled(number) for name, number in numbers.items() if isinstance(number, int)}
        return dataclasses.replace(value, **changed)
    return value


def kernels() -> list[str]:
    """Kernels of `msa_fast` that no other kernel calls, or has for a partition of its warps, as module:name."""
    found = {
        f"{module.__name__}:{name}": kernel
        for module in _modules()
        for name, kernel in vars(module).items()
        if isinstance(kernel, JITFunction) and kernel.__module__ == module.__name__
    }
    sources = {name: inspect.getsource(kernel.fn) for name, kernel in found.items()}

    def is_helper(name: str) -> bool:
        own = name.partition(":")[2]
        call = re.compile(rf"\b{own}\(|\({own}, \(")
        return any(call.search(source) for other, source in sources.items() if other != name)

    return [name for name in found if not is_helper(name)]


def _modules() -> list[ModuleType]:
    """Every module of `msa_fast` but the gate itself, the benchmark and the ones with a command line."""
    names = [info.name for info in pkgutil.walk_packages(msa_fast.__path__, "msa_fast.")]
    others = ("msa_fast.compile_gate", "msa_fast.bench")
    left = [name for name in names if not name.startswith(others) and not name.endswith("__main__")]
    return [importlib.import_module(name) for name in left]
