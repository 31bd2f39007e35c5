"""The operations of a kernel that order what happens, and a kernel without one of them.

A kernel from which one of them is taken must be found out, or the operation is one that it does not need.
"""

from collections.abc import Iterator

from fuzz.twin.ir.module import Module, Op, Region

NAMES = frozenset(
    {
        "ttg.barrier",
        "gpu.barrier",
        "ttg.local_barrier",
        "ttng.fence_async_shared",
        "ttng.init_barrier",
        "ttng.barrier_expect",
        "ttng.arrive_barrier",
        "ttng.wait_barrier",
        "ttng.tc_gen5_commit",
        "ttng.tmem_wait",
        "ttng.warp_group_dot_wait",
        "ttg.async_wait",
        "tt.grid_dependency_wait",
    }
)
COUNTED = {"ttng.warp_group_dot_wait": "pendings", "ttg.async_wait": "num"}
"""Operations that have results, and their attribute: how much may still be in flight. Without one, all of it may."""
ANY_NUMBER = 1 << 30


def synchronising(module: Module) -> list[Op]:
    """All such operations, in the order of the text."""
    return [op for _, op in _found(module.body)]


def without(module: Module, number: int) -> str:
    """Take the operation of that number out of a module. Returns it in words."""
    region, op = list(_found(module.body))[number]
    if op.name in COUNTED:
        op.attributes[COUNTED[op.name]] = ANY_NUMBER
    else:
        region.ops = [other for other in region.ops if other is not op]
    return f"{op.name} at {op.place}"


def _found(region: Region) -> Iterator[tuple[Region, Op]]:
    for op in region.ops:
        if op.name in NAMES:
            yield region, op
        for inner in op.regions:
            yield from _found(inner)
