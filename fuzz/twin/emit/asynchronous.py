"""Rules for barriers, fences, copies and products: whatever goes on beside the threads that started it."""

import re

from fuzz.twin.arithmetic import dtype_of
from fuzz.twin.emit.emitter import Emitter, rule, statement
from fuzz.twin.finding import NotModelled
from fuzz.twin.ir.module import Op
from fuzz.twin.ir.read import VALUE
from fuzz.twin.ir.types import Type

SWIZZLE = re.compile(r"(swizzlingByteWidth|elementBitWidth|transposed|fp4Padded) = (\w+)")
"""The parts of a layout in shared memory that say where a copy puts which element."""


for _name in ("ttg.barrier", "gpu.barrier", "ttg.local_barrier"):
    statement(_name, "M.barrier(G)", is_noticed=True)
statement("ttng.fence_async_shared", "M.fence(G)")
statement("ttng.inval_barrier", "M.invalidate_barrier(G, {0}, {place})")
statement("ttng.async_tma_store_wait", "M.wait_for_tensor_stores(G, {pendings})", is_noticed=True)
statement("ttg.async_commit_group", "M.commit_copies(G)")
statement("ttg.async_wait", "M.wait_for_copies(G, {num})", is_noticed=True)


@rule("ttng.init_barrier")
def _init(emitter: Emitter, op: Op) -> None:
    emitter.put(f"M.init_barrier(G, {emitter.operands(op)[0]}, {op.literal()}, {op.place!r})")


@rule("ttng.barrier_expect", "ttng.arrive_barrier")
def _arrive(emitter: Emitter, op: Op) -> None:
    function = "expect" if op.name == "ttng.barrier_expect" else "arrive"
    barrier, *predicate = emitter.operands(op)
    emitter.pause()
    emitter.put(f"M.{function}(G, {barrier}, {op.literal()}, {predicate[0] if predicate else True}, {op.place!r})")


@rule("ttng.wait_barrier")
def _wait(emitter: Emitter, op: Op) -> None:
    # What follows `deps` is there for the compiler alone.
    barrier, parity, *predicate = (emitter.name(value) for value in re.findall(VALUE, op.text.partition(" deps ")[0]))
    emitter.pause()
    emitter.put(f"yield from M.wait(G, {barrier}, {parity}, {predicate[0] if predicate else True}, {op.place!r})")


@rule("ttng.async_tma_copy_global_to_local")
def _tensor_copy(emitter: Emitter, op: Op) -> None:
    _refuse_multicast(op)
    rank = op.text[: op.text.index("]")].count("%") - 1
    descriptor, *rest = emitter.operands(op)
    at, (memory, barrier, predicate) = ", ".join(rest[:rank]), rest[rank : rank + 3]
    _check_layout(emitter, op, op.result_types[0] if op.result_types else op.types[-1])
    emitter.pause()
    source = f"X.tile({descriptor}, [{at}], {op.place!r})"
    emitter.put(f"M.tensor_copy(G, {source}, {memory}, {barrier}, {predicate}, {op.place!r})")


@rule("ttng.async_tma_gather")
def _gather(emitter: Emitter, op: Op) -> None:
    _refuse_multicast(op)
    descriptor, rows, column, memory, barrier, predicate = emitter.operands(op)
    _check_layout(emitter, op, op.types[4])
    emitter.pause()
    source = f"X.rows({descriptor}, {rows}, {column}, {op.place!r})"
    emitter.put(f"M.tensor_copy(G, {source}, {memory}, {barrier}, {predicate}, {op.place!r})")


@rule("ttng.async_tma_copy_local_to_global")
def _tensor_store_copy(emitter: Emitter, op: Op) -> None:
    descriptor, *at, memory = emitter.operands(op)
    _check_layout(emitter, op, op.types[1])
    emitter.pause()
    target = f"X.target({descriptor}, [{', '.join(at)}], {op.types[0].element!r}, {op.place!r})"
    emitter.put(f"M.tensor_store_copy(G, {target}, {memory}, {op.place!r})")


@rule("ttng.async_copy_mbarrier_arrive")
def _arrive_behind_copies(emitter: Emitter, op: Op) -> None:
    emitter.pause()
    barrier = emitter.operands(op)[0]
    emitter.put(f"M.arrive_behind_copies(G, {barrier}, {op.is_set('noIncrement')}, {op.place!r})")


def _refuse_multicast(op: Op) -> None:
    if "multicast" in op.text or op.is_set("multicast"):
        raise NotModelled(f"the twin has no multicast (at {op.place})")


def _check_layout(emitter: Emitter, op: Op, memory: Type) -> None:
    """A descriptor lays elements out as the memory's other readers and writers take them, or the copy is a mistake."""
    if SWIZZLE.findall(op.types[0].layout) != SWIZZLE.findall(memory.layout):
        emitter.put(f"M.mismatch({op.place!r})")


@rule("ttg.async_copy_global_to_local")
def _copy(emitter: Emitter, op: Op) -> None:
    pointer, memory, *rest = emitter.operands(op)
    mask = rest.pop(0) if " mask " in op.text else "None"
    other = rest.pop(0) if " other " in op.text else "0"
    emitter.pause()
    loaded = f"X.load({pointer}, {mask}, {other}, {op.types[0].pointee!r}, {op.place!r})"
    emitter.put(f"M.copy(G, {memory}, {loaded}, {op.place!r})")
    emitter.tokens(op)


def _wide(emitter: Emitter, value: str, kind: Type) -> str:
    """An operand of a product: a view of memory as it is, numbers in registers as fp32."""
    dtype_of(kind.element)  # refuses formats that the twin does not have
    return value if kind.kind == "memory" else f"widened({value}, {kind.element!r})"


@rule("tt.dot")
def _dot(emitter: Emitter, op: Op) -> None:
    a, b, c = emitter.operands(op)
    a, b = _wide(emitter, a, op.types[0]), _wide(emitter, b, op.types[1])
    emitter.result(op, f"M.dot({a}, {b}, {c}, {op.types[0].element!r})")


@rule("ttng.warp_group_dot")
def _warp_group_dot(emitter: Emitter, op: Op) -> None:
    a, b, c, *is_used = emitter.operands(op)
    a, b = _wide(emitter, a, op.types[0]), _wide(emitter, b, op.types[1])
    emitter.pause()
    how = f"{c}, {is_used[0] if is_used else True}, {op.types[0].element!r}, {op.is_set('isAsync')}, {op.place!r}"
    emitter.result(op, f"M.warp_group_dot(G, {a}, {b}, {how})")


@rule("ttng.warp_group_dot_wait")
def _wait_for_products(emitter: Emitter, op: Op) -> None:
    values = ", ".join(emitter.operands(op))
    emitter.all_results(op, f"M.wait_for_products(G, [{values}], {op.number('pendings')})")


@rule("ttng.tc_gen5_mma")
def _tensor_product(emitter: Emitter, op: Op) -> None:
    if "two_ctas" in op.text or op.is_set("two_ctas"):
        raise NotModelled(f"the twin has no product of two programs (at {op.place})")
    paired = re.compile(rf"({VALUE})\[({VALUE})\]")
    barriers = ", ".join(f"({emitter.name(b)}, {emitter.name(p)})" for b, p in paired.findall(op.text))
    plain = re.sub(
        r"\[\]|\[" + VALUE + r"\]", "", paired.sub("", op.text)
    )  # the accumulator's token stands in brackets
    a, b, d, is_used, predicate = (emitter.name(value) for value in re.findall(VALUE, plain)[:5])
    emitter.pause()
    emitter.put(f"M.tensor_product(G, {a}, {b}, {d}, {is_used}, {predicate}, [{barriers}], {op.place!r})")
    emitter.tokens(op)


@rule("ttng.tmem_copy")
def _copy_to_tensor_memory(emitter: Emitter, op: Op) -> None:
    source, target = emitter.operands(op)
    if "scales" in op.types[1].layout:
        raise NotModelled(f"the twin has no scales in tensor memory (at {op.place})")
    emitter.pause()
    emitter.put(f"M.copy_to_tensor_memory(G, {source}, {target}, {op.place!r})")
    emitter.tokens(op)


@rule("ttng.tc_gen5_commit")
def _commit_products(emitter: Emitter, op: Op) -> None:
    barrier, *rest = (emitter.name(value) for value in re.findall(VALUE, op.text.partition(" descs ")[0]))
    emitter.pause()
    emitter.put(f"M.commit(G, {barrier}, {rest[0] if rest else True}, {op.place!r})")
