"""The GPU architectures that the gate compiles for: their limits and matrix instructions.

The limits are the vendors' published ones: CUDA C++ programming guide, compute capabilities 9.0,
10.0, 10.3, 12.0; AMD CDNA3 and CDNA4 instruction set guides.
"""

from dataclasses import dataclass

from triton.backends.compiler import GPUTarget


@dataclass(frozen=True)
class Architecture:
    """One GPU architecture to compile for.

    matrix: the instruction that a 16-bit matrix product must become.
    max_shared: bytes of shared memory (LDS) that one program may use.
    total_shared, reserved_shared: bytes on a multiprocessor (compute unit), and bytes that each program
        costs beyond what it uses.
    registers: 32-bit registers that a multiprocessor has for each lane of a warp; a warp whose threads
        need r of them takes r rounded up to register_step.
    max_warps, max_programs: bounds on what a multiprocessor holds at once.
    tensor_columns: columns of tensor memory, 0 where there is none.
    processors: a typical number of multiprocessors, by which launchers size grids.
    """

    name: str
    backend: str
    arch: int | str
    warp_size: int
    matrix: str
    max_shared: int
    total_shared: int
    reserved_shared: int
    registers: int
    register_step: int
    max_warps: int
    max_programs: int
    tensor_columns: int
    processors: int

    @property
    def is_nvidia(self) -> bool:
        """True if kernels become PTX and SASS; otherwise they become AMD's assembly."""
        return self.backend == "cuda"

    @property
    def triton(self) -> GPUTarget:
        """This architecture as Triton describes it."""
        return GPUTarget(self.backend, self.arch, self.warp_size)

    def occupancy(self, num_warps: int, registers: int, shared: int, tensor_columns: int) -> int:
        """Programs that one multiprocessor can hold at once; 0 if not even one."""
        step = self.register_step
        per_warp = max(step, -(-registers // step) * step)
        fits = [self.max_programs, self.max_warps // num_warps, self.registers // per_warp // num_warps]
        if shared:
            fits.append(self.total_shared // (shared + self.reserved_shared) if shared <= self.max_shared else 0)
        if tensor_columns:
            fits.append(self.tensor_columns // tensor_columns)
        return min(fits)


def _nvidia(arch: int, matrix: str, **other: int) -> Architecture:
    hopper = {
        "max_shared": 227 << 10,
        "total_shared": 228 << 10,
        "max_warps": 64,
        "max_programs": 32,
        "tensor_columns": 0,
    }
    return Architecture(
        name=f"sm_{arch}",
        backend="cuda",
        arch=arch,
        warp_size=32,
        matrix=matrix,
        reserved_shared=1 << 10,
        registers=65536 // 32,
        register_step=8,
        **{**hopper, **other},
    )


def _cdna(arch: str, lds: int, processors: int) -> Architecture:
    return Architecture(
        name=arch,
        backend="hip",
        arch=arch,
        warp_size=64,
        matrix="mfma",
        max_shared=lds,
        total_shared=lds,
        reserved_shared=0,
        registers=4 * 512,  # four SIMDs, 512 vector registers per lane each
        register_step=8,
        max_warps=4 * 8,
        max_programs=16,
        tensor_columns=0,
        processors=processors,
    )


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        _nvidia(90, "wgmma", processors=132),
        _nvidia(100, "tcgen05", tensor_columns=512, processors=148),
        _nvidia(103, "tcgen05", tensor_columns=512, processors=148),
        _nvidia(
            120,
            "mma.sync",
            max_shared=99 << 10,
            total_shared=100 << 10,
            max_warps=48,
            max_programs=24,
            processors=188,
        ),
        _cdna("gfx942", lds=64 << 10, processors=304),
        _cdna("gfx950", lds=160 << 10, processors=256),
    )
}
"""Name -> architecture."""
