"""The twin's machine: each of its rules finds the mistake that it is about, and accuses no right program."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fuzz.twin.finding import Finding
from fuzz.twin.global_memory import GlobalMemory, Launch, Spans
from fuzz.twin.machine.events import Group
from fuzz.twin.machine.machine import Machine
from fuzz.twin.matrix import quick_dot
from fuzz.twin.options import POLICIES, Level, Policy
from fuzz.twin.tiles import TileReader
from tests.support import twin_copies, twin_products, twin_programs

NUM_WARPS = 4
RULES = twin_programs.RULES | twin_products.RULES | twin_copies.RULES


def run(program: Callable[..., Any], policy: Policy, is_right: bool, level: Level = "compiled") -> None:
    """Run a program as it is, or with its mistake."""
    machine = Machine(1 << 16, level, policy, 1, quick_dot, has_waits=True, is_gluon=True)
    group = Group.fresh("the program", NUM_WARPS)
    machine.run(program(machine, group, is_right), group)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("program", RULES, ids=lambda program: program.__name__)
def test_rule_accuses_no_right_program(program: Callable[..., Any], policy: Policy) -> None:
    run(program, policy, is_right=True)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("program", RULES, ids=lambda program: program.__name__)
def test_rule_finds_its_mistake(program: Callable[..., Any], policy: Policy) -> None:
    with pytest.raises(Finding) as found:
        run(program, policy, is_right=False)
    assert found.value.kind == RULES[program], found.value


def launch(memory: GlobalMemory, number: int, is_early: bool = False, before: Launch | None = None) -> Launch:
    return Launch(memory, number, (2, 1, 1), is_early, before)


def test_allocation_of_a_loop_counts_once_before_it_has_a_place() -> None:
    machine = Machine(1, "source", "late", 1, quick_dot, has_waits=True, is_gluon=True)
    pages = [machine.local_alloc((1 << 15,), "i8", None, "kernel.py:7") for _ in range(200)]
    pages[0].array[:] = 1
    assert pages[1].low >= pages[0].high
    assert not (pages[1].array == 1).any()
    with pytest.raises(Finding, match="does not fit shared memory"):
        machine.local_alloc((1 << 30,), "i8", None, "kernel.py:8")
    accumulators = [machine.tensor_alloc((128, 128), "f32", None, "kernel.py:9") for _ in range(200)]
    accumulators[0].array[:] = 1
    assert not (accumulators[1].array == 1).any()


def test_address_in_no_tensor_is_found() -> None:
    memory, tensor = GlobalMemory(), torch.arange(8, dtype=torch.int32)
    start = memory.register(tensor, "tensor")
    assert launch(memory, 1).load(start + 28, None, None, "i32", "load") == 7
    with pytest.raises(Finding, match="no tensor"):
        launch(memory, 1).load(start + 32, None, None, "i32", "load")


def test_store_of_two_programs_in_one_place_is_found() -> None:
    memory, tensor = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    start = memory.register(tensor, "tensor")
    first = launch(memory, 1)
    first.begin((0, 0, 0))
    first.store(start, 1, None, "i32", "store")
    first.begin((1, 0, 0))
    first.store(start + 4, 1, None, "i32", "store")
    with pytest.raises(Finding, match="two programs"):
        first.store(start, 1, None, "i32", "store")
    second = launch(memory, 2)
    second.begin((1, 0, 0))
    second.store(start, 2, None, "i32", "store")  # another launch may
    assert tensor[0] == 2


def test_stores_in_a_huge_tensor_are_followed() -> None:
    memory, tensor = GlobalMemory(), torch.empty(1 << 31, dtype=torch.int8)  # memory that is not touched costs nothing
    start, far = memory.register(tensor, "tensor"), np.array([5, (1 << 20) + 7, (1 << 30) + 1])
    first = launch(memory, 1)
    first.store(start + far, np.arange(3, dtype=np.int8), None, "i8", "store")
    assert tensor[torch.from_numpy(far)].tolist() == [0, 1, 2]
    first.begin((1, 0, 0))
    first.store(start + far + 1, np.zeros(3, np.int8), None, "i8", "store")
    with pytest.raises(Finding, match="two programs"):
        first.store(start + far[2], np.int8(3), None, "i8", "store")


def test_early_launch_that_does_not_wait_is_found() -> None:
    memory, tensor = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    start = memory.register(tensor, "tensor")
    first = launch(memory, 1)
    first.store(start, 1, None, "i32", "store")
    first.launch_dependents()
    waits = launch(memory, 2, is_early=True, before=first)
    waits.begin((0, 0, 0))
    waits.dependency_wait()
    assert waits.load(start, None, None, "i32", "load") == 1
    rushes = launch(memory, 2, is_early=True, before=first)
    rushes.begin((0, 0, 0))
    reader = TileReader(tensor, start, (8,), (1,), (4,))
    for touch in (
        lambda: rushes.load(start, None, None, "i32", "load"),
        lambda: rushes.tile(reader, [0], "copy").start(),
        lambda: rushes.rows(reader, np.zeros(1), 0, "copy").start(),
        lambda: rushes.target(reader, [0], "i32", "copy").start((4,)),
    ):
        with pytest.raises(Finding, match="does not wait for the launch that writes it"):
            touch()


@pytest.mark.parametrize("waits_first", [True, False, None])
def test_memory_older_than_the_launch_before_is_there_if_that_one_waited_before_it_let_the_next_start(
    waits_first: bool | None,
) -> None:
    memory, old = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    at = memory.register(old, "old")
    launch(memory, 1).store(at, 1, None, "i32", "store")
    before = launch(memory, 2, is_early=True)
    if waits_first is not None:  # else its programs end without a word
        (before.dependency_wait if waits_first else before.launch_dependents)()
        (before.launch_dependents if waits_first else before.dependency_wait)()
    before.end()
    early = launch(memory, 3, is_early=True, before=before)
    if waits_first:
        assert early.load(at, None, None, "i32", "load") == 1
    else:
        with pytest.raises(Finding, match="nor for those that may run beside that"):
            early.load(at, None, None, "i32", "load")


def test_early_launch_behind_an_unknown_one_touches_nothing_before_it_waits() -> None:
    memory, tensor = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    at = memory.register(tensor, "tensor")
    early = launch(memory, 1, is_early=True)
    with pytest.raises(Finding, match="before this one"):
        early.load(at, None, None, "i32", "load")
    with pytest.raises(Finding, match="before this one"):
        early.store(at, 1, None, "i32", "store")
    early.dependency_wait()
    early.store(at, 1, None, "i32", "store")


def test_memory_older_than_an_ordinary_launch_that_says_nothing_is_there() -> None:
    memory, tensor = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    at = memory.register(tensor, "tensor")
    ordinary = launch(memory, 1)
    ordinary.end()
    assert launch(memory, 2, is_early=True, before=ordinary).load(at, None, None, "i32", "load") == 0


def test_early_launch_that_writes_what_the_launch_before_still_reads_is_found() -> None:
    memory, tensor = GlobalMemory(), torch.zeros(8, dtype=torch.int32)
    at = memory.register(tensor, "tensor")
    before = launch(memory, 1)
    before.load(at, None, None, "i32", "load")
    before.launch_dependents()
    early = launch(memory, 2, is_early=True, before=before)
    assert early.load(at, None, None, "i32", "load") == 0
    early = launch(memory, 2, is_early=True, before=before)
    with pytest.raises(Finding, match="that reads it"):
        early.store(at, 1, None, "i32", "store")


def test_early_launch_may_touch_what_lies_beside_it_in_the_same_memory() -> None:
    """As `out` does, where a pool has it behind the queries that the launch before reads, and the keys it copies."""
    memory, tensor = GlobalMemory(), torch.zeros(24, dtype=torch.int32)
    at = memory.register(tensor, "pool")
    before = launch(memory, 1)
    before.load(np.array([at, at + 8]), None, None, "i32", "load")
    before.tile(TileReader(tensor, at + 16, (4,), (1,), (4,)), [0], "copy").start()
    before.store(at + 40, 1, None, "i32", "store")
    before.launch_dependents()
    early = launch(memory, 2, is_early=True, before=before)
    early.store(at + 12, 1, None, "i32", "store")
    early.store(at + 32, 1, None, "i32", "store")
    assert early.load(at + 44, None, None, "i32", "load") == 0
    for touch in (
        lambda: early.store(at + 4, 1, None, "i32", "store"),  # between what one instruction reads
        lambda: early.store(at + 28, 1, None, "i32", "store"),
        lambda: early.load(at + 40, None, None, "i32", "load"),
    ):
        with pytest.raises(Finding, match="does not wait for the launch that"):
            touch()


def test_spans_meet_what_was_added_and_nothing_else() -> None:
    rng = random.Random(0)
    for _ in range(200):
        spans, touched = Spans(), set[int]()
        for _ in range(rng.randrange(8)):
            low = rng.randrange(40)
            high = low + rng.randrange(1, 9)
            spans.add(7, low, high)
            touched.update(range(low, high))
        for low in range(50):
            high = low + rng.randrange(1, 5)
            assert spans.meets(7, low, high) == any(byte in touched for byte in range(low, high))
            assert not spans.meets(6, low, high)


def test_copies_touch_what_lies_in_the_tensor() -> None:
    memory, tensor = GlobalMemory(), torch.arange(12, dtype=torch.int32).view(4, 3)
    start = memory.register(tensor, "tensor")
    at = launch(memory, 1)
    reader = TileReader(tensor, start, (4, 3), (3, 1), (2, 2))
    assert at.tile(reader, [3, 2], "copy").read((2, 2)).tolist() == [[11, 0], [0, 0]]
    by_row = TileReader(tensor, start, (4, 3), (3, 1), (1, 2))
    assert at.rows(by_row, np.array([2, 0, -1]), 1, "copy").read((3, 2)).tolist() == [[7, 8], [1, 2], [0, 0]]
    with pytest.raises(Finding, match="2 rows of"):
        at.rows(by_row, np.array([2, 0]), 1, "copy").read((3, 2))
    at.target(reader, [3, 2], "i32", "copy").write(np.full((2, 2), -1, np.int32))
    assert tensor.flatten().tolist() == [*range(11), -1]
    at.begin((1, 0, 0))
    with pytest.raises(Finding, match="two programs"):
        at.target(reader, [2, 1], "i32", "copy").write(np.full((2, 2), -1, np.int32))
    with pytest.raises(Finding, match="copied to or from"):
        at.target(reader, [0, 0], "i32", "copy").start((4, 2))
