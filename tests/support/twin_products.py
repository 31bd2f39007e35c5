"""Small programs of the twin's machine, one for each rule about products: right, or without what the rule asks for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fuzz.twin.machine.events import Group
from fuzz.twin.machine.machine import Machine
from tests.support.twin_programs import TILE, fetch, page_and_barrier


def store_is_fenced_before_a_product(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, _ = page_and_barrier(m, g)
    m.local_store(g, np.ones(TILE, np.float32), page, "store")
    if is_right:
        m.fence(g)
    m.barrier(g)
    product = m.warp_group_dot(g, page, page, None, False, "f32", True, "product")
    m.wait_for_products(g, [product], 0)
    yield


def stores_of_all_warps_are_seen_by_a_product(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, _ = page_and_barrier(m, g)
    m.local_store(g, np.ones(TILE, np.float32), page, "store")
    m.fence(g)
    if is_right:
        m.barrier(g)
    m.wait_for_products(g, [m.warp_group_dot(g, page, page, None, False, "f32", True, "product")], 0)
    yield


def product_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    ones = np.ones(TILE, np.float32)
    product = m.warp_group_dot(g, ones, ones, None, False, "f32", True, "product")
    yield
    if is_right:
        (product,) = m.wait_for_products(g, [product], 0)
    assert (np.fmax(product, 0) == 16).all()
    m.wait_for_products(g, [], 0)


def page_is_kept_until_a_product_is_done(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    page, bar = page_and_barrier(m, g)
    fetch(m, g, page, bar)
    yield from m.wait(g, bar, 0, True, "wait")
    product = m.warp_group_dot(g, page, page, None, False, "f32", True, "product")
    (product,) = m.wait_for_products(g, [product], 0 if is_right else 1)
    m.barrier(g)
    fetch(m, g, page, bar, 2)
    yield from m.wait(g, bar, 1, True, "wait")
    m.wait_for_products(g, [product], 0)


def accumulator_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g)
    d = m.tensor_alloc((128, 128), "f32", 0, "d")
    a = m.local_alloc((128, 16), "f32", 8192, "a")
    b = m.local_alloc((16, 128), "f32", 16384 + 8192, "b")
    for view in (a, b):
        m.local_store(g, 1.0, view, "store")
    m.fence(g)
    m.barrier(g)
    m.tensor_product(g, a, b, d, False, True, [(bar, True)], "product")
    if is_right:
        yield from m.wait(g, bar, 0, True, "wait")
    assert (m.tensor_load(g, d, "load") == 16).all()
    yield from m.wait(g, bar, 0, True, "wait")


def tensor_memory_is_read_before_it_is_written_again(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g)
    d, a = m.tensor_alloc((128, 128), "f32", 0, "d"), m.tensor_alloc((128, 16), "f32", 128, "a")
    b = m.local_alloc((16, 128), "f32", 8192, "b")
    m.local_store(g, 1.0, b, "store")
    m.fence(g)
    m.tensor_store(g, 1.0, a, True, "store")
    m.tensor_wait(g, True)
    m.tensor_load(g, d, "load")
    if is_right:
        m.tensor_wait(g, False)
    m.barrier(g)
    m.tensor_product(g, a, b, d, False, True, [(bar, True)], "product")
    yield from m.wait(g, bar, 0, True, "wait")


def store_to_tensor_memory_is_waited_for(m: Machine, g: Group, is_right: bool) -> Iterator[Any]:
    _, bar = page_and_barrier(m, g)
    d, a = m.tensor_alloc((128, 128), "f32", 0, "d"), m.tensor_alloc((128, 16), "f32", 128, "a")
    b = m.local_alloc((16, 128), "f32", 8192, "b")
    m.local_store(g, 1.0, b, "store")
    m.fence(g)
    m.tensor_store(g, 1.0, a, True, "store")
    if is_right:
        m.tensor_wait(g, True)
    m.barrier(g)
    m.tensor_product(g, a, b, d, False, True, [(bar, True)], "product")
    yield from m.wait(g, bar, 0, True, "wait")


RULES: dict[Callable[..., Any], str] = {
    store_is_fenced_before_a_product: "fence",
    stores_of_all_warps_are_seen_by_a_product: "race",
    product_is_waited_for: "unwaited",
    page_is_kept_until_a_product_is_done: "race",
    accumulator_is_waited_for: "race",
    tensor_memory_is_read_before_it_is_written_again: "race",
    store_to_tensor_memory_is_waited_for: "race",
}
"""Program -> the kind of finding that it is without what its rule asks for (`is_right` False)."""
