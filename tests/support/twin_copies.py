"""Small programs of the twin's machine, one for each rule about copies to tensor memory and out of shared memory, and
about parts of tensor memory: right, or without what the rule asks for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fuzz.twin.machine.events import Group
from fuzz.twin.machine.machine import Machine
from fuzz.twin.tiles import Target
from tests.support.twin_programs import TILE, page_and_barrier

WORDS = (128, 32)


def _words(m: Machine, g: Group) -> tuple[Any, Any, Any]:
    """128 rows in shared memory, their place in tensor memory, and an mbarrier."""
    _, bar = page_and_barrier(m, g)
    return m.local_alloc(WORDS, "f32", 2048, "words"), m.tensor_alloc(WORDS, "f32", 0, "target"), bar


def store_is_fenced_before_a_copy_to_tensor_memory(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    words, target, bar = _words(m, g)
    m.local_store(g, 1.0, words, "store")
    if is_right:
        m.fence(g)
    m.barrier(g)
    m.copy_to_tensor_memory(g, words, target, "copy")
    m.commit(g, bar, True, "commit")
    yield from m.wait(g, bar, 0, True, "wait")


def copy_to_tensor_memory_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    words, target, bar = _words(m, g)
    m.local_store(g, 1.0, words, "store")
    m.fence(g)
    m.barrier(g)
    m.copy_to_tensor_memory(g, words, target, "copy")
    m.commit(g, bar, True, "commit")
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    assert (m.tensor_load(g, target, "load") == 1).all()
    yield from m.wait(g, bar, 0, True, "wait")


def source_is_kept_until_its_copy_to_tensor_memory_is_done(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    words, target, bar = _words(m, g)
    m.copy_to_tensor_memory(g, words, target, "copy")
    m.commit(g, bar, True, "commit")
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    m.local_store(g, 1.0, words, "store")
    yield from m.wait(g, bar, 0, True, "wait")


def product_follows_a_copy_of_its_own_thread(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    """A copy and a product of one thread are in order; those of two are not."""
    words, target, bar = _words(m, g)
    d, b = m.tensor_alloc((128, 16), "f32", 128, "d"), m.local_alloc((32, 16), "f32", 32768, "b")
    for view in (words, b):
        m.local_store(g, 1.0, view, "store")
    m.fence(g)
    m.barrier(g)
    m.copy_to_tensor_memory(g, words, target, "copy")

    def multiply(other: Group) -> Iterator[Any]:
        m.tensor_product(other, target, b, d, False, True, [(bar, True)], "product")
        yield from m.wait(other, bar, 0, True, "wait")
        assert (m.tensor_load(other, d, "load") == 32).all()

    if is_right:
        yield from multiply(g)
    else:
        yield from m.specialize(g, [(4, multiply)], iter(()))


def _stored(m: Machine, g: Group, is_fenced: bool = True) -> tuple[Any, list[Any]]:
    """A page whose copy to global memory has started, and where it comes to."""
    page, _ = page_and_barrier(m, g)
    out: list[Any] = []
    m.local_store(g, 1.0, page, "store")
    if is_fenced:
        m.fence(g)
    m.barrier(g)
    m.tensor_store_copy(g, Target(lambda shape: None, out.append), page, "copy")
    return page, out


def store_is_fenced_before_a_copy_to_global_memory(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _stored(m, g, is_right)
    m.wait_for_tensor_stores(g, 0)
    yield


def page_is_kept_until_its_copy_to_global_memory_is_done(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, out = _stored(m, g)
    m.wait_for_tensor_stores(g, 0 if is_right else 1)
    m.barrier(g)
    m.local_store(g, 2.0, page, "store")
    m.wait_for_tensor_stores(g, 0)
    assert (out[0] == 1).all()
    yield


def copy_to_global_memory_is_waited_for_by_its_thread_alone(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, _ = _stored(m, g)
    m.wait_for_tensor_stores(g, 0)
    if is_right:
        m.barrier(g)
    m.local_store(g, 2.0, page, "store")
    yield


def copy_to_global_memory_is_done_at_the_end(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _stored(m, g)
    if is_right:
        m.wait_for_tensor_stores(g, 0)
    yield


def arrival_behind_copies_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g, count=32 * g.num_warps)
    m.copy(g, page, np.ones(TILE, np.float32), "copy")
    m.arrive_behind_copies(g, bar, True, "arrival")
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    assert (m.local_load(g, page, "load") == 1).all()
    yield from m.wait(g, bar, 0, True, "wait")


def arrivals_behind_copies_are_counted(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g, count=32 * g.num_warps if is_right else 1)
    m.copy(g, page, np.ones(TILE, np.float32), "copy")
    m.arrive_behind_copies(g, bar, True, "arrival")
    yield from m.wait(g, bar, 0, True, "wait")
    assert (m.local_load(g, page, "load") == 1).all()


def columns_of_tensor_memory_are_apart(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    words, _, bar = _words(m, g)
    whole = m.tensor_alloc((128, 64), "f32", 64, "whole")
    first, second = whole.slice((0, 0), WORDS), whole.slice((0, 32), WORDS)
    m.copy_to_tensor_memory(g, words, first, "copy")
    m.commit(g, bar, True, "commit")
    m.tensor_store(g, 1.0, second if is_right else first, True, "store")
    yield from m.wait(g, bar, 0, True, "wait")


def other_elements_in_the_same_bytes_are_the_same_memory(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    words, target, bar = _words(m, g)
    as_halves = target.reinterpret((128, 64), "bf16", "view")
    m.copy_to_tensor_memory(g, words, target, "copy")
    m.commit(g, bar, True, "commit")
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    m.tensor_load(g, as_halves, "load")
    yield from m.wait(g, bar, 0, True, "wait")


RULES: dict[Callable[..., Any], str] = {
    store_is_fenced_before_a_copy_to_tensor_memory: "fence",
    copy_to_tensor_memory_is_waited_for: "race",
    source_is_kept_until_its_copy_to_tensor_memory_is_done: "race",
    product_follows_a_copy_of_its_own_thread: "race",
    store_is_fenced_before_a_copy_to_global_memory: "fence",
    page_is_kept_until_its_copy_to_global_memory_is_done: "race",
    copy_to_global_memory_is_waited_for_by_its_thread_alone: "race",
    copy_to_global_memory_is_done_at_the_end: "in flight",
    arrival_behind_copies_is_waited_for: "race",
    arrivals_behind_copies_are_counted: "barrier",
    columns_of_tensor_memory_are_apart: "race",
    other_elements_in_the_same_bytes_are_the_same_memory: "race",
}
"""Program -> the kind of finding that it is without what its rule asks for (`is_right` False)."""
