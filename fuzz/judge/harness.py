"""The code of the judge and of the reference, watched: a target that changes it judges itself.

It is compared and put back after each target. What else lies in the memory of the process, nothing can protect.
"""

import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

WATCHED = ("fuzz.inputs.", "fuzz.judge.", "msa_ref")
"""Beginnings of the names of the modules that make cases, compute right answers and judge."""
KINDS = (FunctionType, property, classmethod, staticmethod)

Owner = ModuleType | type


class Harness:
    """The functions and classes of the watched modules, as they were when it was made."""

    def __init__(self) -> None:
        self._parts: dict[tuple[Owner, str], tuple[Any, CodeType | None]] = {}
        for module in [module for name, module in sys.modules.items() if name.startswith(WATCHED)]:
            for name, value in list(vars(module).items()):
                if isinstance(value, (*KINDS, type)):
                    self._parts[module, name] = value, getattr(value, "__code__", None)
                if isinstance(value, type) and value.__module__.startswith(WATCHED):
                    methods = {key: method for key, method in vars(value).items() if isinstance(method, KINDS)}
                    for key, method in methods.items():
                        self._parts[value, key] = method, getattr(method, "__code__", None)

    def restored(self) -> list[str]:
        """Names of what has changed since, all of which is as it was again."""
        changed = []
        for (owner, name), (value, code) in self._parts.items():
            now = vars(owner).get(name)
            if now is not value or getattr(now, "__code__", None) is not code:
                changed.append(f"{owner.__name__}.{name}")
                setattr(owner, name, value)
                if code is not None:
                    value.__code__ = code
        return changed
