"""Rules for loops, branches, partitions and ends."""

import re

from fuzz.twin.emit.emitter import Emitter, rule
from fuzz.twin.ir.module import Op
from fuzz.twin.ir.read import VALUE
from fuzz.twin.ir.types import split


@rule("scf.yield")
def _yield(emitter: Emitter, op: Op) -> None:
    emitter.leave(emitter.operands(op))


@rule("ttg.warp_yield")
def _warp_yield(emitter: Emitter, op: Op) -> None:
    emitter.put(f"return [{', '.join(emitter.operands(op))}]")


@rule("tt.return", "ttg.warp_return", "gluon.return")
def _end(emitter: Emitter, op: Op) -> None:
    emitter.put("pass" if emitter.kind == "nested" else "return")


@rule("scf.if")
def _if(emitter: Emitter, op: Op) -> None:
    results = emitter.results(op)
    for region, head in zip(op.regions, (f"if {emitter.name(op.operands[0])}:", "else:"), strict=False):
        emitter.put(head)
        with emitter.deeper():
            emitter.region(region, "nested", results)


def _carried(text: str) -> list[tuple[str, str]]:
    """(name inside, value before) of each value that a loop carries: `(%a = %b, %c = %d)`."""
    found = re.search(r"\((%[^()]*)\)", text)
    return [tuple(part.split(" = ")) for part in split(found[1])] if found else []  # type: ignore[misc]


@rule("scf.for")
def _for(emitter: Emitter, op: Op) -> None:
    found = re.match(rf"(?:unsigned )?({VALUE}) = ({VALUE}) to ({VALUE}) step ({VALUE})", op.text)
    assert found is not None, op.text
    counter, low, high, step = (emitter.name(value) for value in found.groups())
    carried = _carried(op.text[found.end() :].partition("->")[0])
    inside = [emitter.name(name) for name, _ in carried]
    if inside:
        emitter.assign(inside, [emitter.name(value) for _, value in carried])
    emitter.put(f"for {counter} in range({low}, {high}, {step}):")
    with emitter.deeper():
        emitter.region(op.regions[0], "nested", inside)
    if op.results:
        emitter.assign(emitter.results(op), inside)


@rule("scf.while")
def _while(emitter: Emitter, op: Op) -> None:
    carried = _carried(op.text.partition(" : ")[0])
    before, results = [emitter.name(name) for name, _ in carried], emitter.results(op)
    if before:
        emitter.assign(before, [emitter.name(value) for _, value in carried])
    condition, body = op.regions
    emitter.put("while True:")
    with emitter.deeper():
        emitter.region(condition, "nested", results)
        if body.arguments:
            emitter.assign([emitter.name(name) for name in body.arguments], results)
        emitter.region(body, "nested", before)


@rule("scf.condition")
def _condition(emitter: Emitter, op: Op) -> None:
    condition, *values = emitter.operands(op)
    if emitter.targets:
        emitter.assign(emitter.targets, values)
    emitter.put(f"if not {condition}: break")


@rule("ttg.warp_specialize")
def _warp_specialize(emitter: Emitter, op: Op) -> None:
    default, *partitions = op.regions
    started = []
    for region, num_warps in zip(partitions, op.num_warps[1:], strict=True):
        name = emitter.fresh("partition")
        given = (f", {emitter.name(a)}={emitter.name(v)}" for a, v in zip(region.arguments, op.operands, strict=False))
        emitter.put(f"def {name}(G{''.join(given)}):")
        with emitter.deeper():
            emitter.put("if False: yield")
            emitter.region(region, "partition")
        started.append(f"({num_warps}, {name})")
    main = emitter.fresh("main")
    emitter.put(f"def {main}():")
    with emitter.deeper():
        emitter.put("if False: yield")
        emitter.region(default, "partition")
    everything = f"yield from M.specialize(G, [{', '.join(started)}], {main}())"
    if op.results:
        emitter.all_results(op, everything)
    else:
        emitter.put(everything)
