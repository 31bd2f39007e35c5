"""Reads the LLVM IR and the assembly that Triton made for AMD."""

import re
from collections import Counter
from typing import Any

from msa_fast.compile_gate.compiled import Compiled
from msa_fast.compile_gate.control_flow import Instruction, Listing

VALUE = re.compile(r"%[\w.]+")
ELEMENT_BITS = {"bfloat": 16, "half": 16, "float": 32, "double": 64, "ptr": 64}


def read(asm: dict[str, Any], key_parameter: int | None, into: Compiled) -> None:
    """Fill in what the assembly says. key_parameter: index of the kernel parameter that leads to the keys."""
    text: str = asm["amdgcn"]
    into.matrix = dict(Counter(_matrix_name(name) for name in re.findall(r"\bv_mfma_\w+", text)))
    into.registers = _metadata(text, "vgpr_count")
    into.stack = _metadata(text, "private_segment_fixed_size")
    into.code_size = int(re.findall(r"codeLenInByte = (\d+)", text)[0])
    if key_parameter is not None:
        into.key_bytes = sorted(key_accesses(asm["llir"], key_parameter))
    listing = parse_assembly(text)
    into.spills = sum(_is_scratch(i) for i in listing.instructions)
    into.loop_spills = sum(_is_scratch(i) for i in listing.in_loops())


def _matrix_name(instruction: str) -> str:
    """`mfma` for 16-bit operands; for others the type of the operands follows."""
    kind = re.findall(r"_(bf16|f16|xf32|f32|f64|i8|f8f6f4|fp8|bf8)(?=_|$)", instruction)[-1]
    return "mfma" if kind in ("bf16", "f16") else f"mfma.{kind}"


def _metadata(text: str, name: str) -> int:
    return int(re.findall(rf"\.{name}:\s+(\d+)", text)[0])


def parse_assembly(text: str) -> Listing:
    """The listing in LLVM's assembly of one kernel."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        line = re.sub(r";.*", "", line).rstrip()
        if line.startswith(".Lfunc_end"):
            break
        label = re.match(r"([\w.$]+):$", line)
        if label:
            labels[label.group(1)] = len(instructions)
        elif re.match(r"\t[a-z]", line):
            opcode = line.split()[0]
            targets = tuple(re.findall(r"\.LBB\w+", line)) if re.match(r"s_c?branch", opcode) else ()
            falls = not re.match(r"s_branch|s_endpgm|s_setpc", opcode)
            instructions.append(Instruction(line.strip(), targets, falls))
    return Listing(instructions, labels)


def _is_scratch(instruction: Instruction) -> bool:
    """Scratch is local memory. Older code accesses it as a buffer whose descriptor is in s[0:3]."""
    return bool(re.match(r"scratch_(load|store)|buffer_(load|store)_\w+ .*\bs\[0:3\].*\bs32\b", instruction.text))


def key_accesses(llir: str, parameter: int) -> list[int]:
    """Bytes of every global access whose address derives from a kernel parameter.

    The LLVM IR is read, where every value has one name; aligned wide accesses stay whole from there
    to the machine code.
    """
    lines = [line.partition(", !")[0] for line in llir.splitlines()]
    head = next(line for line in lines if line.startswith("define amdgpu_kernel"))
    names = re.findall(r"(%[\w.]+)(?=[,)])", head[head.index("(") :])
    derived = {names[parameter]}
    size = 0
    while size != len(derived):
        size = len(derived)
        for line in lines:
            target, is_value, rest = line.partition(" = ")
            if is_value and not _is_load(rest) and not derived.isdisjoint(VALUE.findall(rest)):
                derived.add(target.strip())
    widths = []
    for line in lines:
        target, is_value, rest = line.partition(" = ")
        rest = rest if is_value else line
        if not _is_load(rest) or "addrspace(3) %" in rest.split(",")[1 if rest.startswith("load") else 0]:
            continue
        pointer = VALUE.findall(rest)[:1]
        if pointer and pointer[0] in derived:
            widths.append(_width(rest))
    return widths


def _is_load(rest: str) -> bool:
    return bool(re.match(r"load |.*call .*@llvm\.amdgcn\.\w+[\w.]*\.load", rest.strip()))


def _width(rest: str) -> int:
    """Bytes of a load, or of a direct copy to shared memory."""
    if ".lds(" in rest:
        return int(re.findall(r"i32 (\d+)", rest)[0])
    found = re.search(r"(?:load|call)\s+(?:volatile )?(?:<(\d+) x )?(\w+)>?", rest)
    assert found, rest
    count, kind = found.groups()
    bits = ELEMENT_BITS.get(kind) or int(kind.removeprefix("i"))
    return int(count or 1) * bits // 8
