"""The properties of one compiled configuration that the rules judge."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Compiled:
    """One configuration as the compiler made it for one architecture; it was not run.

    error: first line of the compiler's error; the other fields are valid only without one.
    matrix: matrix instructions in the final assembly, by name. products: matrix products in the
        source after inlining. fma_products: those that became plain multiply-adds.
    key_dtype: element type of the keys that the kernel reads, "" if it reads none. key_bytes: bytes per
        thread of each of its key accesses, narrowest first.
    packed: additions of two 16-bit numbers at once, on NVIDIA.
    registers: per thread. spills, loop_spills: instructions that access local memory, all of them
        and those in a loop. unjudged: why they could not be counted. stack: bytes of local memory
        per thread. shared: bytes per program.
    tensor_columns: columns of tensor memory per program. occupancy: programs that fit a multiprocessor.
    code_size: bytes of instructions. seconds: processor time of compiling and reading.
    """

    error: str = ""
    options: str = ""
    matrix: dict[str, int] = field(default_factory=dict)
    products: int = 0
    fma_products: int = 0
    key_dtype: str = ""
    key_bytes: list[int] = field(default_factory=list)
    packed: int = 0
    registers: int = 0
    num_warps: int = 0
    spills: int = 0
    loop_spills: int = 0
    unjudged: str = ""
    stack: int = 0
    shared: int = 0
    tensor_columns: int = 0
    occupancy: int = 0
    code_size: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)
