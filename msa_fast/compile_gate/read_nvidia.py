"""Reads the PTX and the machine code that Triton made for NVIDIA."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton

from msa_fast.compile_gate.compiled import Compiled
from msa_fast.compile_gate.control_flow import Instruction, Listing

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
MATRIX = re.compile(r"\b(wgmma)\.mma_async\S*|\b(tcgen05)\.mma\.\S*|\b(mma\.sync)\S*")
PACKED = re.compile(r"\badd\.[su]16x2\b")
REGISTER = re.compile(r"%r[a-z]*\d+")


def read(asm: dict[str, Any], key_parameter: int | None, into: Compiled) -> None:
    """Fill in what PTX and the cubin say. key_parameter: index of the kernel parameter that leads to the keys."""
    ptx: str = asm["ptx"]
    into.matrix = _matrix(ptx)
    into.packed = len(PACKED.findall(ptx))
    if key_parameter is not None:
        into.key_bytes = sorted(key_accesses(ptx, key_parameter))
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(asm["cubin"])
        usage = _tool("cuobjdump", "-res-usage", str(cubin))
        into.registers = max(int(value) for value in re.findall(r"REG:(\d+)", usage))
        into.stack = max(int(value) for value in re.findall(r"STACK:(\d+)", usage))
        into.stack += max(int(value) for value in re.findall(r"LOCAL:(\d+)", usage))
        into.code_size = _code_size(asm["cubin"])
        if into.stack:  # without local memory nothing accesses it, and disassembling is slow
            try:
                listing = disassembled(asm["cubin"])
            except subprocess.CalledProcessError as error:  # Triton 3.6's does not know sm_103
                into.unjudged = (error.stderr.splitlines() or ["nvdisasm failed"])[0]
                return
            into.spills = sum(_is_local(i) for i in listing.instructions)
            into.loop_spills = sum(_is_local(i) for i in listing.in_loops())


def disassembled(cubin: bytes) -> Listing:
    """The machine code of a kernel.

    Raises:
        subprocess.CalledProcessError: if Triton's disassembler does not know the architecture.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        return parse_sass(_tool("nvdisasm", "-c", str(path)))


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=True).stdout


def _matrix(ptx: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for match in MATRIX.finditer(ptx):
        name = next(group for group in match.groups() if group)
        found[f"{name}.tf32" if "tf32" in match.group() else name] += 1
    return dict(found)


_NO_ARITHMETIC = ("ld.", "st.", "cp.", "@", "bar", "atom", "red", "wgmma", "tcgen05", "mma")


def key_accesses(ptx: str, parameter: int) -> list[int]:
    """Bytes of every global access whose address derives from a kernel parameter.

    Follows the pointer through moves and address arithmetic until nothing new is reached. The result
    of a load is data, not an address, and is not followed.
    """
    statements = [_statement(line) for line in ptx.splitlines()]
    # The value of a pointer is loaded; a tensor descriptor is used by its address.
    start = re.compile(rf"\w+_param_{parameter}\b")
    derived: set[str] = set()
    moves = []
    for op, operands in statements:
        if op.startswith(("ld.param", "mov.")) and start.search(operands):
            derived.update(REGISTER.findall(operands))
        elif op and not op.startswith(_NO_ARITHMETIC):
            target, _, sources = operands.partition("}," if operands.lstrip().startswith("{") else ",")
            moves.append((REGISTER.findall(target), REGISTER.findall(sources)))
    size = 0
    while size != len(derived):
        size = len(derived)
        for targets, registers in moves:
            if not derived.isdisjoint(registers):
                derived.update(targets)
    widths = []
    for op, operands in statements:
        if not op.startswith(("ld.global", "cp.async.ca", "cp.async.cg", "cp.async.bulk.")) or "[" not in operands:
            continue
        brackets = re.findall(r"\[([^\]]*)\]", operands)
        address = brackets[0] if op.startswith("ld") else brackets[1]  # a copy names its destination first
        if derived.isdisjoint(REGISTER.findall(address)):
            continue
        widths.append(_width(op, operands))
    return widths


def _statement(line: str) -> tuple[str, str]:
    """Opcode and operands of a line of PTX, without its predicate and comment."""
    line = re.sub(r"//.*", "", line).strip().rstrip(";")
    line = re.sub(r"^@!?%p\d+\s+", "", line)
    op, _, operands = line.partition(" ") if " " in line.split("\t")[0] else line.partition("\t")
    return op, operands


def _width(op: str, operands: str) -> int:
    if op.startswith("cp.async.bulk"):
        return 16  # bulk copies move multiples of 16 bytes
    if op.startswith("cp.async"):
        return int(re.split(r"\]\s*,", operands)[2].split(",")[0].strip(), 0)
    vector = re.search(r"\.v(\d)", op)
    bits = re.findall(r"\.[bufs](\d+)", op)[-1]
    return int(bits) // 8 * (int(vector.group(1)) if vector else 1)


def parse_sass(text: str) -> Listing:
    """The listing in nvdisasm's output."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        label = re.match(r"\s*(\.L_x_\d+|[\w$]+):\s*$", line)
        if label:
            labels[label.group(1)] = len(instructions)
            continue
        code = re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line)
        if not code:
            continue
        body = code.group(1)
        conditional = bool(re.match(r"@!?U?P\d", body))
        opcode = re.sub(r"^@!?U?P\w+\s+", "", body).split()[0]
        targets = tuple(re.findall(r"`\(([^)]+)\)", body)) if re.match(r"BRA|BRX|JMP|CALL|WARPSYNC", opcode) else ()
        # `BRA.U UP0` and `BRA P0, P1` carry their conditions among the operands.
        conditional |= opcode.startswith("BRA") and bool(re.search(r"BRA\S*\s+!?U?[PR]\w*", body))
        ends = re.match(r"BRA|BRX|JMP|EXIT|RET", opcode) and not conditional
        instructions.append(Instruction(body, targets, not ends))
    return Listing(instructions, labels)


def _is_local(instruction: Instruction) -> bool:
    return bool(re.search(r"\b(LDL|STL)\b", instruction.text))


def _code_size(elf: bytes) -> int:
    """Size in bytes of the executable sections of a 64-bit ELF file."""
    start = int.from_bytes(elf[40:48], "little")
    size, count = (int.from_bytes(elf[at : at + 2], "little") for at in (58, 60))
    total = 0
    for i in range(count):
        header = elf[start + i * size : start + (i + 1) * size]
        flags, length = int.from_bytes(header[8:16], "little"), int.from_bytes(header[32:40], "little")
        total += length if flags & 4 else 0  # executable
    return total
