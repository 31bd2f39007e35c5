"""The rules that fail the gate. Each has a canary (`canaries`) that it, by name, must catch."""

from dataclasses import dataclass

from msa_fast.compile_gate.compiled import Measured
from msa_fast.compile_gate.targets import Target

LEAST_KEY_BYTES = 16
"""Bytes per thread of a key access: the widest that every target has, and what its memory wants."""
SIXTEEN_BITS = ("bf16", "fp16")


@dataclass(frozen=True)
class Violation:
    """A rule that a configuration breaks, and the numbers."""

    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.sentence}"


def violations(found: Measured, target: Target) -> list[Violation]:
    """Every rule that one configuration breaks on a target, in the order of RULES."""
    if found.error:
        return [Violation("compiles", found.error)]
    broken = [(name, rule(found, target)) for name, rule in RULES.items()]
    return [Violation(name, sentence) for name, sentence in broken if sentence]


def _spills(found: Measured, target: Target) -> str:
    if not found.loop_spills:
        return ""
    return f"{found.loop_spills} accesses to local memory in a loop ({found.spills} in all, {found.stack} bytes)"


def _shared(found: Measured, target: Target) -> str:
    if found.shared <= target.max_shared:
        return ""
    return f"{found.shared} bytes of shared memory, and {target.name} has {target.max_shared}"


def _matrix(found: Measured, target: Target) -> str:
    """fp32 products are IEEE multiply-adds (or AMD's fp32 matrix instruction) by design: never TF32."""
    if not found.products:
        return ""
    rounded = [name for name in found.matrix if "tf32" in name or "xf32" in name]
    if found.key_dtype not in SIXTEEN_BITS:
        return f"fp32 products became {rounded[0]}" if rounded else ""
    if found.fma_products:
        return f"{found.fma_products} matrix products became multiply-adds, not {target.matrix}"
    others = sorted(set(found.matrix) - {target.matrix})
    if others or target.matrix not in found.matrix:
        return f"matrix products became {' and '.join(others) or 'nothing known'}, not {target.matrix}"
    return ""


def _keys(found: Measured, target: Target) -> str:
    if not found.key_dtype:
        return ""
    if not found.key_bytes:
        return "the kernel takes keys and no access to them was found"
    narrow = [width for width in found.key_bytes if width < LEAST_KEY_BYTES]
    if not narrow:
        return ""
    return f"{len(narrow)} of {len(found.key_bytes)} key accesses are narrower than 16 bytes, down to {narrow[0]}"


def _packed(found: Measured, target: Target) -> str:
    """ptxas of CUDA 12.8, 12.9 and 13.0 emits `VIADD.16x2 R, R, 0x0` for one of a constant; 13.4 does not.

    Seen for sm_90, sm_100 and sm_120. LLVM makes them of `row // H + 1`, where few rows are known to fit in
    16 bits and a thread has two.
    """
    if not found.packed:
        return ""
    return f"{found.packed} packed 16-bit additions, whose constant ptxas 12.8 to 13.0 may lose: add in another order"


RULES = {"spills": _spills, "shared": _shared, "matrix": _matrix, "keys": _keys, "packed": _packed}
"""Name -> rule; "compiles" comes before them all, "sweep" judges the sweep itself."""
