"""The state of one program, and the one way in which threads touch its memories."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fuzz.twin.machine.barriers import Mbarrier
from fuzz.twin.machine.events import Events, Group, Log
from fuzz.twin.machine.scheduler import Scheduler
from fuzz.twin.machine.spaces import (
    SHARED_GARBAGE,
    TENSOR_COLUMNS,
    TENSOR_GARBAGE,
    TENSOR_ROWS,
    Space,
    View,
    mark,
)
from fuzz.twin.machine.timeline import Timeline
from fuzz.twin.options import Level, Policy

Dot = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32], Any, str], npt.NDArray[np.float32]]
"""A matrix unit: fp32 [M, K], fp32 [K, N], an accumulator (None for zeros) and the operands' element -> fp32 [M, N]."""

SOURCE_SHARED_BYTES, SOURCE_COLUMNS = 1 << 21, 8 * TENSOR_COLUMNS
"""Room at the level `source`, where nothing has a place of its own yet and no place is used twice."""


class Core:
    """One program. Its parts are in the classes that are made of it: barriers, copies, products, threads."""

    def __init__(
        self,
        shared_bytes: int,
        level: Level,
        policy: Policy,
        seed: int,
        dot: Dot,
        has_waits: bool,
        is_gluon: bool,
        timeline: Timeline | None = None,
    ) -> None:
        """has_waits: whether the IR says when loads and stores of tensor memory are waited for.

        is_gluon: whether the kernel's author states fences and barriers around what is asynchronous.
        """
        self.level, self.dot_of, self.has_waits, self.is_gluon = level, dot, has_waits, is_gluon
        is_source = level == "source"
        placed_bytes, placed_columns = (0, 0) if is_source else (max(1, shared_bytes), TENSOR_COLUMNS)
        shared = np.full(placed_bytes, SHARED_GARBAGE, np.uint8)
        tensor = np.full((TENSOR_ROWS, placed_columns), TENSOR_GARBAGE, np.uint32)
        self.shared = Space("shared", shared, SOURCE_SHARED_BYTES if is_source else placed_bytes)
        self.tensor = Space("tensor", tensor, SOURCE_COLUMNS if is_source else placed_columns)
        self.log, self.scheduler = Log(), Scheduler(policy, seed, timeline)
        self.mbarriers: dict[int, Mbarrier] = {}
        self.unwaited_stores: Events = 0  # copies to global memory

    @property
    def is_source(self) -> bool:
        """True at the level `source`."""
        return self.level == "source"

    def given_order(self, group: Group) -> Events:
        """The loads and stores of a group's own threads, where the compiler will add barriers behind them.

        At the level `source` they are before whatever the threads touch next, and before their products. Before a bulk
        copy to where threads have read the compiler adds none.
        """
        return self.log.generic_of(group) if self.is_source else 0

    def compiler_barrier(self, group: Group) -> None:
        """The barrier that the compiler will add here to a kernel that states none itself."""
        if self.is_source and not self.is_gluon:
            group.meet()

    @property
    def needs_fences(self) -> bool:
        """False where the compiler will add fences of the async proxy."""
        return self.is_gluon or not self.is_source

    def touch(self, group: Group, view: View, place: str, what: str, is_write: bool) -> list[Events]:
        """The events of an access by all warps of a group, each on its own."""
        needed, cells = view.conflicts(is_write)
        own = self.given_order(group)
        for known in group.knows:
            self.log.check_order(needed, known | own, what, place, group)
        each = self.log.add_generic(what, place, group, is_write)
        mark(cells, sum(each), is_write)
        return each
