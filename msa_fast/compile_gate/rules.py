"""The rules that fail the gate. Each must catch, by name, a planted defect of `canaries`."""

from dataclasses import dataclass

from msa_fast.compile_gate.architectures import Architecture
from msa_fast.compile_gate.compiled import Compiled

MIN_KEY_BYTES = 16
"""Bytes per thread of a key access: the widest access that every architecture has."""
PACKED_KEY_BYTES = {"u8": 1, "i64": 8}
"""Element type of NVFP4 keys in a kernel's signature -> bytes per thread of an access. Their rows of 72 bytes begin at
multiples of 8; rows of other lengths, and other strides, are read byte by byte."""
SIXTEEN_BITS = ("bf16", "fp16")


@dataclass(frozen=True)
class BrokenRule:
    """A rule that a configuration breaks, and a sentence with the numbers."""

    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.sentence}"


def broken_rules(compiled: Compiled, architecture: Architecture) -> list[BrokenRule]:
    """Every rule that a compiled configuration breaks, in the order of RULES."""
    if compiled.error:
        return [BrokenRule("compiles", compiled.error)]
    broken = [(name, rule(compiled, architecture)) for name, rule in RULES.items()]
    return [BrokenRule(name, sentence) for name, sentence in broken if sentence]


def _spills(compiled: Compiled, architecture: Architecture) -> str:
    if not compiled.loop_spills:
        return ""
    spills, stack = compiled.spills, compiled.stack
    return f"{compiled.loop_spills} accesses to local memory in a loop ({spills} in all, {stack} bytes)"


def _shared(compiled: Compiled, architecture: Architecture) -> str:
    if compiled.shared <= architecture.max_shared:
        return ""
    return f"{compiled.shared} bytes of shared memory, and {architecture.name} has {architecture.max_shared}"


def _matrix(compiled: Compiled, architecture: Architecture) -> str:
    """16-bit products use the matrix unit; fp32 products are multiply-adds or AMD's fp32 instruction, never TF32."""
    if not compiled.products:
        return ""
    rounded = [name for name in compiled.matrix if "tf32" in name or "xf32" in name]
    if compiled.key_dtype not in SIXTEEN_BITS:
        return f"fp32 products became {rounded[0]}" if rounded else ""
    if compiled.fma_products:
        return f"{compiled.fma_products} matrix products became multiply-adds, not {architecture.matrix}"
    others = sorted(set(compiled.matrix) - {architecture.matrix})
    if others or architecture.matrix not in compiled.matrix:
        return f"matrix products became {' and '.join(others) or 'nothing known'}, not {architecture.matrix}"
    return ""


def _keys(compiled: Compiled, architecture: Architecture) -> str:
    """Keys are read 16 bytes at a time; NVFP4's, whose rows do not begin at multiples of 16, eight or one."""
    if not compiled.key_dtype:
        return ""
    if not compiled.key_bytes:
        return "the kernel takes keys and no access to them was found"
    least = PACKED_KEY_BYTES.get(compiled.key_dtype, MIN_KEY_BYTES)
    narrow = [width for width in compiled.key_bytes if width < least]
    if not narrow:
        return ""
    return (
        f"{len(narrow)} of {len(compiled.key_bytes)} key accesses are narrower than {least} bytes, down to {narrow[0]}"
    )


def _packed(compiled: Compiled, architecture: Architecture) -> str:
    """No packed 16-bit additions: ptxas of CUDA 12.8 to 13.0 loses a constant that one adds.

    It emits `VIADD.16x2 R, R, 0x0`, seen on sm_90, sm_100 and sm_120; ptxas of 13.4 does not. LLVM turns
    `row // H + 1` into one where rows fit in 16 bits and a thread has two of them.
    """
    if not compiled.packed:
        return ""
    return (
        f"{compiled.packed} packed 16-bit additions, whose constant ptxas 12.8 to 13.0 may lose: add in another order"
    )


RULES = {"spills": _spills, "shared": _shared, "matrix": _matrix, "keys": _keys, "packed": _packed}
"""Name -> rule. The rule "compiles" comes before all of them."""
