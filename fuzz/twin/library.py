"""Kernels as Python, made once: compiled to TTGIR, read, written as source, and that compiled by Python."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from inspect import isfunction
from typing import Any

import numpy as np
from triton.runtime.jit import JITFunction

from fuzz.twin import arithmetic
from fuzz.twin.compile import Specialization, ttgir
from fuzz.twin.emit.emitter import Emitter
from fuzz.twin.ir.module import Module
from fuzz.twin.ir.read import read
from fuzz.twin.ir.synchronising import synchronising, without
from fuzz.twin.options import Level
from fuzz.twin.standing import GENERATED, PLACES
from msa_fast.compile_gate.architectures import ARCHITECTURES, Architecture

IN_SOURCE = {name: value for name, value in vars(arithmetic).items() if isfunction(value)}
"""The functions that generated code calls, by name."""


@dataclass
class Program:
    """A kernel as Python. source: its text; code: (machine, group, launch, *arguments) -> a generator."""

    module: Module
    source: str
    code: Callable[..., Any]


@dataclass(frozen=True)
class Dropped:
    """One operation that is taken out of a kernel: the number of one that orders what happens."""

    kernel: str
    number: int


class Library:
    """The programs of one architecture at one level.

    num_synchronising: kernel -> how many of its operations order what happens.
    dropped: the operation that is taken out, in words, once its kernel has been compiled.
    """

    def __init__(self, architecture: Architecture, level: Level, drop: Dropped | None = None) -> None:
        self.architecture, self.level = architecture, level
        self.num_synchronising: dict[str, int] = {}
        self.dropped = ""
        self._drop = drop
        self._programs: dict[tuple[str, str], Program] = {}

    def program(self, kernel: JITFunction[Any], specialization: Specialization) -> Program:
        """A kernel as Python; made once."""
        key = (kernel.cache_key, specialization.spec)
        if key not in self._programs:
            module = read(_text(kernel, specialization, self.architecture, self.level))
            self.num_synchronising[module.name] = len(synchronising(module))
            if self._drop is not None and module.name == self._drop.kernel:
                self.dropped = without(module, self._drop.number)
            emitter = Emitter(module)
            source = emitter.source()
            scope = {**IN_SOURCE, **emitter.constants, "np": np, PLACES: emitter.places}
            exec(compile(source, f"{GENERATED}{module.name}>", "exec"), scope)
            self._programs[key] = Program(module, source, scope["program"])
        return self._programs[key]


_TEXTS: dict[tuple[str, str, str, Level], str] = {}


def _text(kernel: JITFunction[Any], specialization: Specialization, architecture: Architecture, level: Level) -> str:
    """A kernel's TTGIR, compiled once in a process, whatever is taken out of it then."""
    key = (kernel.cache_key, specialization.spec, architecture.name, level)
    if key not in _TEXTS:
        _TEXTS[key] = ttgir(kernel, specialization, architecture, level)
    return _TEXTS[key]


@cache
def library(architecture: str, level: Level) -> Library:
    """The library that all runs of a process share."""
    return Library(ARCHITECTURES[architecture], level)
