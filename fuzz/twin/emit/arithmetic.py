"""Rules for arithmetic, comparisons and conversions."""

import re
from typing import Any

import numpy as np

from fuzz.twin.arithmetic import cast, dtype_of, narrowed
from fuzz.twin.emit.emitter import Emitter, rule, template
from fuzz.twin.finding import NotModelled
from fuzz.twin.ir.module import Op
from fuzz.twin.ir.types import Type

for _name, _text in {
    "arith.addf": "{0} + {1}",
    "arith.subf": "{0} - {1}",
    "arith.mulf": "{0} * {1}",
    "arith.divf": "{0} / {1}",
    "arith.negf": "-{0}",
    "arith.andi": "{0} & {1}",
    "arith.ori": "{0} | {1}",
    "arith.xori": "{0} ^ {1}",
    "arith.shrsi": "{0} >> {1}",
    "arith.divsi": "div({0}, {1})",
    "arith.remsi": "rem({0}, {1})",
    "arith.shrui": "signed(unsigned({0}, {bits}) >> unsigned({1}, {bits}), {bits})",
    "arith.divui": "signed(unsigned({0}, {bits}) // unsigned({1}, {bits}), {bits})",
    "arith.remui": "signed(unsigned({0}, {bits}) % unsigned({1}, {bits}), {bits})",
    "arith.maxnumf": "np.fmax({0}, {1})",
    "arith.minnumf": "np.fmin({0}, {1})",
    "arith.maximumf": "np.maximum({0}, {1})",
    "arith.minimumf": "np.minimum({0}, {1})",
    "arith.sitofp": "cast({0}, {element})",
    "arith.fptosi": "cast({0}, {element})",
    "arith.index_cast": "cast({0}, {element})",
    "math.exp2": "np.exp2({0})",
    "math.log2": "np.log2({0})",
    "math.absf": "np.abs({0})",
    "math.absi": "abs({0})",
    "math.rsqrt": "1 / np.sqrt({0})",
    "math.sqrt": "np.sqrt({0})",
    "tt.mulhiui": "mulhi({0}, {1}, {bits})",
}.items():
    template(_name, _text)

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
"""The last two letters of a predicate -> Python."""


def _wrapping(sign: str) -> Any:
    def put(emitter: Emitter, op: Op) -> None:
        a, b = emitter.operands(op)
        kind = op.result_type
        text = f"{a} {sign} {b}"
        emitter.result(op, text if emitter.is_array(kind) else f"wrap({text}, {kind.bits})")

    return put


for _name, _sign in {"arith.addi": "+", "arith.subi": "-", "arith.muli": "*", "arith.shli": "<<"}.items():
    rule(_name)(_wrapping(_sign))


@rule("arith.maxsi", "arith.minsi", "arith.maxui", "arith.minui")
def _pick(emitter: Emitter, op: Op) -> None:
    kind, name = op.result_type, op.name.removeprefix("arith.")
    function = f"np.{name[:3]}imum" if emitter.is_array(kind) else name[:3]
    values = emitter.operands(op)
    if name.endswith("si"):
        emitter.result(op, f"{function}({', '.join(values)})")
        return
    values = [f"unsigned({value}, {kind.bits})" for value in values]
    emitter.result(op, f"signed({function}({', '.join(values)}), {kind.bits})")


@rule("arith.cmpi", "arith.cmpf")
def _compare(emitter: Emitter, op: Op) -> None:
    predicate, kind = op.text.split(",")[0].split()[0], op.types[0]
    values = emitter.operands(op)
    if op.name == "arith.cmpf":
        # For NaN Python's comparisons are false, as the ordered ones are; `!=` is true, as the unordered one is.
        if (predicate[0] == "u") != (predicate[1:] == "ne"):
            raise NotModelled(f"the twin has no comparison {predicate} of floats (at {op.place})")
    elif predicate[0] == "u":
        values = [f"unsigned({value}, {kind.bits})" for value in values]
    text = f"{values[0]} {COMPARISONS[predicate[-2:]]} {values[1]}"
    emitter.result(op, text if emitter.is_array(kind) else f"bool({text})")


@rule("arith.select")
def _select(emitter: Emitter, op: Op) -> None:
    condition, a, b = emitter.operands(op)
    is_array = emitter.is_array(op.types[0])
    emitter.result(op, f"np.where({condition}, {a}, {b})" if is_array else f"{a} if {condition} else {b}")


@rule("arith.extsi")
def _sign_extended(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    if op.types[0].element == "i1":  # true is -1
        value = f"-{value}.astype(np.int8)" if emitter.is_array(op.result_type) else f"-int({value})"
    emitter.result(op, f"cast({value}, {op.result_type.element!r})")


@rule("arith.extui")
def _zero_extended(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    source = op.types[0]
    if source.element != "i1":
        value = f"unsigned({value}, {source.bits})"
    emitter.result(op, f"cast({value}, {op.result_type.element!r})")


@rule("arith.trunci")
def _truncated(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    kind = op.result_type
    if kind.element == "i1":
        emitter.result(op, f"({value} & 1) != 0")
    elif emitter.is_array(kind):
        emitter.result(op, f"cast({value}, {kind.element!r})")
    else:
        emitter.result(op, f"wrap({value}, {kind.bits})")


@rule("arith.extf")
def _widened(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    is_bf16 = op.types[0].element == "bf16"
    emitter.result(op, f"from_bf16({value})" if is_bf16 else f"cast({value}, {op.result_type.element!r})")


@rule("arith.truncf")
def _narrowed(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    is_bf16 = op.result_type.element == "bf16"
    emitter.result(op, f"to_bf16({value})" if is_bf16 else f"cast({value}, {op.result_type.element!r})")


@rule("tt.fp_to_fp")
def _converted(emitter: Emitter, op: Op) -> None:
    """Between floats of which one has 8 bits; to the nearest, ties to even, where bits are lost."""
    (value,) = emitter.operands(op)
    source, target = op.types[0].element, op.result_type.element
    emitter.result(op, f"narrowed(widened({value}, {source!r}), {target!r})")


@rule("tt.bitcast", "arith.bitcast")
def _bitcast(emitter: Emitter, op: Op) -> None:
    (value,) = emitter.operands(op)
    emitter.result(op, f"bitcast({value}, {op.types[0].element!r}, {op.result_type.element!r})")


@rule("arith.constant")
def _constant(emitter: Emitter, op: Op) -> None:
    kind = op.result_type if op.types else Type("scalar", (), "i1")  # `true` and `false` stand without a type
    emitter.result(op, emitter.constant(_value(op.text.strip(), kind)))


def _value(text: str, kind: Type) -> Any:
    """The number, or the array of numbers, that a constant's text means."""
    dense = re.fullmatch(r"dense<(.*)>", text)
    body = dense[1] if dense else text
    if not kind.is_tensor:
        return _number(body, kind.element)
    if body.startswith("["):
        numbers = [_number(part, kind.element) for part in re.findall(r"[^\[\],\s]+", body)]
        value = np.array(numbers, dtype_of(kind.element)).reshape(kind.shape)
    else:
        value = np.full(kind.shape, _number(body, kind.element), dtype_of(kind.element))
    value.flags.writeable = False
    return value


def _number(text: str, element: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if element[0] == "i":
        return cast(int(text, 0), element)
    if text.startswith("0x"):  # the bits of an infinity or a NaN
        bits = {"f32": np.uint32, "f64": np.uint64}.get(element, np.uint16)
        return np.array(int(text, 16), bits).view(dtype_of(element))[()]
    return narrowed(float(text), element)[()] if element in ("bf16", "f8E4M3FN") else cast(float(text), element)
