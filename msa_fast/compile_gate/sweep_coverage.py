"""Does the sweep reach everything? Table entries and kernels that no call of it compiles are named.

An entry of a launch table is reached if changing it changes some configuration. That needs no
knowledge of how a table is looked up, so it holds for tables that are yet to be written.
"""

import contextlib
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator
from itertools import product
from types import ModuleType
from typing import Any
from unittest import mock

from triton.runtime.jit import JITFunction

import msa_fast
import msa_fast.ops
from msa_fast.compile_gate.configurations import Recording, record
from msa_fast.compile_gate.sweep import Call, calls
from msa_fast.compile_gate.targets import TARGETS, Target
from msa_fast.ops import launch_table as launch_tables

Path = tuple[str, Any]
"""A table's name in `msa_fast.ops.launch_table`, and an entry's key or index."""


def forgotten(recording: Recording) -> list[str]:
    """Entries of the launch tables and kernels that the sweep does not reach: one sentence each."""
    problems = [
        f"{table}[{key!r}] of msa_fast.ops.launch_table is chosen by no call of the sweep for any target of the gate"
        for table, key in unreached()
    ]
    return problems + unlaunched(recording)


def unlaunched(recording: Recording) -> list[str]:
    """Kernels that the sweep does not launch: one sentence each."""
    launched = {job.kernel for job in recording.jobs}
    return [f"{name} is launched by no call of the sweep" for name in kernels() if name not in launched]


def unreached(targets: Iterable[Target] = tuple(TARGETS.values())) -> list[Path]:
    """Entries whose change changes no configuration of any call on these targets."""
    left = entries()
    # Calls outside, targets inside: what few calls reach on one target, most calls reach on another.
    for call, target in product(calls(), tuple(targets)):
        candidates = [path for path in left if not _is_of_another(path, target)]
        if not candidates:
            continue
        before = _specs(call, target)
        felt = [path for path in candidates if _is_felt(path, call, target, before)]
        left = [path for path in left if path not in felt]
    return left


def entries() -> list[Path]:
    """Every entry of every table (dict, tuple or list) of `msa_fast.ops.launch_table`."""
    found: list[Path] = []
    for name, value in vars(launch_tables).items():
        if name.startswith("_") or not isinstance(value, dict | tuple | list):
            continue
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        found += [(name, key) for key in keys if "interpreter" not in (key if isinstance(key, tuple) else (key,))]
    return found


def _is_of_another(path: Path, target: Target) -> bool:
    """Whether an entry is of another architecture."""
    architectures = path[1] if isinstance(path[1], tuple) else (path[1],)
    return any(name in TARGETS and name != target.name for name in architectures)


def _is_felt(path: Path, call: Call, target: Target, before: set[str]) -> bool:
    with _changed(path):
        return _specs(call, target) != before


def _specs(call: Call, target: Target) -> set[str]:
    return {job.spec for job in record([call], [target]).jobs}


@contextlib.contextmanager
def _changed(path: Path) -> Iterator[None]:
    """With every number of one entry doubled, wherever the table has been imported to."""
    name, key = path
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
    """A value of the same shape whose numbers are others."""
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
    """Kernels of this package that no other kernel calls, as module:name."""
    found = {
        f"{module.__name__}:{name}": kernel
        for module in _modules()
        for name, kernel in vars(module).items()
        if isinstance(kernel, JITFunction) and kernel.__module__ == module.__name__
    }
    sources = {name: inspect.getsource(kernel.fn) for name, kernel in found.items()}

    def is_helper(name: str) -> bool:
        call = re.compile(rf"\b{name.partition(':')[2]}\(")
        return any(call.search(source) for other, source in sources.items() if other != name)

    return [name for name in found if not is_helper(name)]


def _modules() -> list[ModuleType]:
    """Every module of the kernels' room but the gate itself and what has a command line."""
    names = [info.name for info in pkgutil.walk_packages(msa_fast.__path__, "msa_fast.")]
    left = [name for name in names if "compile_gate" not in name and not name.endswith("__main__")]
    return [importlib.import_module(name) for name in left]
