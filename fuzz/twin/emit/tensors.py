"""Rules for shapes, reductions, scans and inline assembly."""

import re

from fuzz.twin.arithmetic import UFUNCS, dtype_of
from fuzz.twin.emit.emitter import Emitter, rule, template
from fuzz.twin.ir.module import Op
from fuzz.twin.lanes import Assembly


@rule("tt.splat")
def _splat(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    kind = op.result_type
    emitter.result(op, f"np.full({kind.shape}, {value}, np.{dtype_of(kind.element).name})")


for _name, _text in {
    "tt.unsplat": "cast({0}.item(), {element})",
    "tt.make_range": "np.arange({start}, {end}, dtype=np.int32)",
    "tt.expand_dims": "np.expand_dims({0}, {axis})",
    "tt.broadcast": "np.broadcast_to({0}, {shape})",
    "tt.reshape": "np.reshape({0}, {shape})",
    "tt.trans": "np.transpose({0}, {order})",
}.items():
    template(_name, _text)


@rule("tt.join")
def _join(emitter: Emitter, op: Op) -> None:
    emitter.result(op, f"np.stack([{', '.join(emitter.operands(op))}], -1)")


@rule("tt.split")
def _split(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    emitter.assign(emitter.results(op), [f"{value}[..., 0]", f"{value}[..., 1]"])


def through_scratch(emitter: Emitter, op: Op) -> None:
    """The way of an operation's values from warp to warp, by shared memory, once lowering has allocated it."""
    if "allocation.offset" in op.attributes:
        low = op.number("allocation.offset")
        emitter.put(f"M.scratch(G, {low}, {low + op.number('allocation.size')}, {op.place!r})")


@rule("ttg.convert_layout")
def _convert_layout(emitter: Emitter, op: Op) -> None:
    through_scratch(emitter, op)
    emitter.result(op, emitter.operands(op)[0])


@rule("tt.reduce")
def _reduce(emitter: Emitter, op: Op) -> None:
    through_scratch(emitter, op)
    values, axis = emitter.operands(op), op.number("axis")
    (region,) = op.regions
    first = region.ops[0]
    is_one_ufunc = len(region.ops) == 2 and len(values) == 1 and first.name in UFUNCS
    if is_one_ufunc and sorted(first.operands) == sorted(region.arguments):
        element = op.result_type.element
        emitter.result(op, f"reduce_with({first.name!r}, {values[0]}, {axis}, {element!r})")
        return
    body = emitter.body(region)
    elements = [kind.element for kind in op.result_types]
    emitter.all_results(op, f"reduce_by({body}, [{', '.join(values)}], {axis}, {elements})")


@rule("tt.scan")
def _scan(emitter: Emitter, op: Op) -> None:
    through_scratch(emitter, op)
    body = emitter.body(op.regions[0])
    values = ", ".join(emitter.operands(op))
    of = f"{body}, [{values}], {op.number('axis')}, {op.is_set('reverse')}"
    emitter.all_results(op, f"scan_by({of})")


@rule("tt.reduce.return", "tt.scan.return")
def _return(emitter: Emitter, op: Op) -> None:
    emitter.leave(emitter.operands(op))


@rule("tt.elementwise_inline_asm")
def _assembly(emitter: Emitter, op: Op) -> None:
    found = re.match(r'"((?:[^"\\]|\\.)*)"', op.text)
    assert found is not None
    text = re.sub(r"\\([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), found[1])
    if "griddepcontrol" in text:  # Triton 3.6 says in assembly what later releases say in an operation
        emitter.put("X.dependency_wait()" if ".wait" in text else "X.launch_dependents()")
        emitter.result(op, "0")
        return
    assembly = Assembly(text, op.number("packed_element", 1), op.result_types, op.place)
    values = ", ".join(emitter.operands(op))
    emitter.all_results(op, f"{emitter.constant(assembly)}.run([{values}])")
