"""Rules for global memory, and for views of shared and tensor memory that threads read and write themselves."""

import re

from fuzz.twin.arithmetic import dtype_of
from fuzz.twin.emit.emitter import Emitter, rule, statement, template
from fuzz.twin.finding import NotModelled
from fuzz.twin.ir.module import Op

statement("tt.grid_dependency_wait", "X.dependency_wait()")
statement("tt.grid_dependency_launch_dependents", "X.launch_dependents()")
statement("ttg.local_dealloc", "pass")  # places are given once and for all
statement("ttg.local_store", "M.local_store(G, {0}, {1}, {place})", is_noticed=True)


@rule("tt.addptr")
def _add_pointer(emitter: Emitter, op: Op) -> None:
    pointer, offset = emitter.operands(op)
    emitter.result(op, f"{pointer} + {offset} * {dtype_of(op.result_type.pointee).itemsize}")


@rule("tt.load")
def _load(emitter: Emitter, op: Op) -> None:
    pointer, mask, other = (*emitter.operands(op), "None", "None")[:3]
    emitter.result(op, f"X.load({pointer}, {mask}, {other}, {op.types[0].pointee!r}, {op.place!r})")


@rule("tt.store")
def _store(emitter: Emitter, op: Op) -> None:
    pointer, value, mask = (*emitter.operands(op), "None")[:3]
    emitter.put(f"X.store({pointer}, {value}, {mask}, {op.types[0].pointee!r}, {op.place!r})")


@rule("tt.get_program_id")
def _program_id(emitter: Emitter, op: Op) -> None:
    emitter.result(op, f"X.program[{'xyz'.index(op.text.split()[0])}]")


@rule("tt.get_num_programs")
def _num_programs(emitter: Emitter, op: Op) -> None:
    emitter.result(op, f"X.grid[{'xyz'.index(op.text.split()[0])}]")


@rule("ttg.local_alloc")
def _local_alloc(emitter: Emitter, op: Op) -> None:
    kind, offset = op.result_type, op.attributes.get("allocation.offset")
    emitter.result(op, f"M.local_alloc({kind.shape}, {kind.element!r}, {offset}, {op.place!r})")
    for value in emitter.operands(op):
        emitter.put(f"M.local_store(G, {value}, {emitter.name(op.results[0])}, {op.place!r})")


@rule("ttg.local_load")
def _local_load(emitter: Emitter, op: Op) -> None:
    emitter.pause()
    emitter.result(op, f"M.local_load(G, {emitter.operands(op)[0]}, {op.place!r})")


@rule("ttg.memdesc_index")
def _index(emitter: Emitter, op: Op) -> None:
    memory, index = emitter.operands(op)
    emitter.result(op, f"{memory}.index({index}, {op.place!r})")


template("ttg.memdesc_reshape", "{0}.reshape({shape})")
template("ttg.memdesc_trans", "{0}.transpose({order})")


@rule("ttg.memdesc_reinterpret")
def _reinterpret(emitter: Emitter, op: Op) -> None:
    """The same bytes as other elements, where both layouts put a byte in one place."""
    source, target = op.types[0], op.result_type
    swizzles = [
        re.findall(r"(swizzlingByteWidth|transposed|vec|perPhase|maxPhase) = (\w+)", kind.layout)
        for kind in (source, target)
    ]
    if "tensor_memory" not in target.layout and swizzles[0] != swizzles[1]:
        raise NotModelled(f"the twin cannot read one swizzle as another (at {op.place})")
    emitter.result(op, f"{emitter.operands(op)[0]}.reinterpret({target.shape}, {target.element!r}, {op.place!r})")


@rule("ttg.memdesc_subslice")
def _subslice(emitter: Emitter, op: Op) -> None:
    offsets = tuple(int(number) for number in re.findall(r"-?\d+", op.text[op.text.index("[") :]))
    emitter.result(op, f"{emitter.operands(op)[0]}.slice({offsets}, {op.result_type.shape})")


@rule("ttng.tmem_subslice")
def _tensor_subslice(emitter: Emitter, op: Op) -> None:
    start = op.number("N") if "N" in op.attributes else op.number("offset")
    rank, dim = len(op.result_type.shape), op.number("dim", 1)
    offsets = tuple(start if axis == dim else 0 for axis in range(rank))
    emitter.result(op, f"{emitter.operands(op)[0]}.slice({offsets}, {op.result_type.shape})")


@rule("ttng.tmem_alloc")
def _tensor_alloc(emitter: Emitter, op: Op) -> None:
    kind, column = op.result_type, op.attributes.get("tensor_memory_col_offset")
    if op.attributes.get("tensor_memory_row_offset", 0) != 0:
        raise NotModelled(f"the twin has no two accumulators in the same columns (at {op.place})")
    emitter.result(op, f"M.tensor_alloc({kind.shape}, {kind.element!r}, {column}, {op.place!r})")
    emitter.tokens(op, range(1, len(op.results)))
    for value in emitter.operands(op):
        emitter.put(f"M.tensor_store(G, {value}, {emitter.name(op.results[0])}, True, {op.place!r})")


@rule("ttng.tmem_load")
def _tensor_load(emitter: Emitter, op: Op) -> None:
    """A load, with the maximum or minimum of each row where the IR asks for it.

    Source: PTX ISA, tcgen05.ld.red: `.abs` takes the absolute values, into the maximum alone; NaN is left out, unless
    `.NaN` is there, which makes a row with one NaN.
    """
    emitter.pause()
    emitter.result(op, f"M.tensor_load(G, {emitter.operands(op)[0]}, {op.place!r})")
    num_tensors = 1
    if "redOp" in op.attributes:
        how = f"{op.attributes['redOp']!r}, {op.is_set('abs')}, {op.is_set('NaN')}"
        emitter.all_results(op, f"[row_extremes({emitter.results(op)[0]}, {how})]", [len(op.results) - 1])
        num_tensors = 2
    emitter.tokens(op, range(1, len(op.results) - num_tensors + 1))


@rule("ttng.tmem_store")
def _tensor_store(emitter: Emitter, op: Op) -> None:
    value, memory, *rest = emitter.operands(op)
    emitter.pause()
    emitter.put(f"M.tensor_store(G, {value}, {memory}, {rest[-1] if rest else True}, {op.place!r})")
    emitter.tokens(op)


@rule("ttng.tmem_wait")
def _tensor_wait(emitter: Emitter, op: Op) -> None:
    emitter.put(f"M.tensor_wait(G, {'store' in op.text})")
