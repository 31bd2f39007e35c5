"""A GPU that is not there: launches of Triton's and Gluon's kernels run here, program by program."""

import contextlib
import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from unittest import mock

import numpy as np
import torch
from triton.runtime.jit import JITFunction

from fuzz.twin.compile import Specialization, has_level, has_tensor_waits
from fuzz.twin.global_memory import GlobalMemory, Launch
from fuzz.twin.library import Library, library
from fuzz.twin.machine.core import SOURCE_SHARED_BYTES, Dot
from fuzz.twin.machine.events import Group
from fuzz.twin.machine.machine import Machine
from fuzz.twin.machine.timeline import Timeline
from fuzz.twin.matrix import quick_dot, unit_dot
from fuzz.twin.options import Level, Policy
from fuzz.twin.tiles import TileReader
from msa_fast.compile_gate.configurations import pretend

SEED_BITS = 32
"""Bits of a program's seed that are its number, so that no two programs of any two worlds share their moments."""


@dataclass
class Counts:
    """Counts of a run. steps: choices of the scheduler; events: accesses to memories inside of a program."""

    launches: int = 0
    programs: int = 0
    steps: int = 0
    events: int = 0


@dataclass
class World:
    """One make-believe GPU.

    library: its kernels. dot: its matrix unit. seed: of random moments.
    watched: number, among each kernel's programs, of the one whose timeline is written; None for no timelines.
    timelines: kernel -> that program's.
    last: the launch before the next one.
    schedules: (kernel, the order that was chosen, as one number) of each launch in which there was a choice.
    """

    library: Library
    policy: Policy = "random"
    seed: int = 0
    dot: Dot = quick_dot
    counts: Counts = field(default_factory=Counts)
    memory: GlobalMemory = field(default_factory=GlobalMemory)
    watched: int | None = None
    timelines: dict[str, Timeline] = field(default_factory=dict)
    programs_of: Counter[str] = field(default_factory=Counter)
    last: Launch | None = None
    schedules: list[tuple[str, int]] = field(default_factory=list)

    @contextlib.contextmanager
    def installed(self) -> Iterator[torch.device]:
        """Inside, tensors of this process are on the make-believe device, and launches run on the twin."""
        told: list[Specialization] = []
        original = JITFunction.run

        def on_compile(*, compile: dict[str, Any], **_: Any) -> bool:
            told.append(Specialization(compile["specialization_data"]))
            return True  # nothing is compiled

        def run(kernel: JITFunction[Any], *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> None:
            told.clear()
            original(kernel, *args, grid=grid, warmup=True, **kwargs)
            if not warmup:
                self.launch(kernel, told[-1], args, grid, kwargs)

        with contextlib.ExitStack() as stack:
            device = stack.enter_context(pretend(self.library.architecture, on_compile, is_on_cpu=True))
            stack.enter_context(mock.patch.object(JITFunction, "run", run))
            yield device

    def launch(
        self,
        kernel: JITFunction[Any],
        specialization: Specialization,
        args: Sequence[Any],
        grid: Any,
        kwargs: dict[str, Any],
    ) -> None:
        """Run all programs of a launch, one after the other.

        Raises:
            Finding: what is wrong with one of them.
        """
        program, level = self.library.program(kernel, specialization), self.library.level
        spec = specialization.data
        given = {name: value for name, value in kwargs.items() if name in kernel.signature.parameters}
        bound = kernel.signature.bind(*args, **given)
        bound.apply_defaults()
        values = self._arguments(bound, spec["signature"])
        assert len(values) == len(program.module.parameters), (len(values), program.module.parameters)
        sizes = tuple(grid(dict(bound.arguments)) if callable(grid) else grid)
        x, y, z = (*sizes, 1, 1)[:3]
        self.counts.launches += 1
        is_early = bool(spec["options"].get("launch_pdl", False))
        self.last = launch = Launch(self.memory, self.counts.launches, (x, y, z), is_early, self.last)
        attributes, orders = program.module.attributes, list[int]()
        for place in product(range(x), range(y), range(z)):
            launch.begin(place)
            machine = Machine(
                attributes.get("ttg.shared", SOURCE_SHARED_BYTES),
                level,
                self.policy,
                (self.seed << SEED_BITS) + self.counts.programs,
                self.dot,
                has_tensor_waits(level),
                kernel.is_gluon(),
                self._timeline(program.module.name),
            )
            group = Group.fresh("the program", program.module.num_warps)
            with np.errstate(all="ignore"):
                machine.run(program.code(machine, group, launch, *values), group)
            launch.end()
            self.counts.programs += 1
            self.counts.steps += machine.scheduler.num_steps
            self.counts.events += len(machine.log.events)
            orders.append(machine.scheduler.order)
        if any(orders):
            self.schedules.append((program.module.name, hash(tuple(orders))))

    def _timeline(self, kernel: str) -> Timeline | None:
        """The timeline to write of the kernel's next program, or None."""
        self.programs_of[kernel] += 1
        if self.watched != self.programs_of[kernel] - 1:
            return None
        return self.timelines.setdefault(kernel, Timeline())

    def _arguments(self, bound: inspect.BoundArguments, signature: dict[str, str]) -> list[Any]:
        """The values of a program's parameters: addresses for tensors, readers of tiles for descriptors."""
        values: list[Any] = []
        for name, kind in signature.items():
            value = bound.arguments[name]
            if kind == "constexpr":
                continue
            if isinstance(value, torch.Tensor):
                values.append(self.memory.register(value, name))
            elif hasattr(value, "block_shape"):
                address = self.memory.register(value.base, name)
                reader = TileReader(value.base, address, value.shape, value.strides, value.block_shape)
                values += [reader, *map(int, value.shape), *map(int, value.strides)]
            else:
                values.append(value)
        return values


def world(architecture: str, level: Level | None, policy: Policy, seed: int, has_bits: bool) -> World:
    """A world of its own memory, whose kernels are compiled once in a process.

    level: None takes `compiled` where the installed Triton can show it. has_bits: whether products are those of the
        matrix unit, bit for bit.
    """
    level = level or ("compiled" if has_level("compiled") else "source")
    return World(library(architecture, level), policy, seed, unit_dot(architecture) if has_bits else quick_dot)
