"""The matrix units that a twin may multiply by: functions of operands, an accumulator, and the operands' element."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fuzz.twin.finding import NotModelled
from msa_ref.matrix_units import UNITS, unit_product

Matrix = npt.NDArray[np.float32]


def quick_dot(a: Matrix, b: Matrix, c: Any, element: str) -> Matrix:
    """Sums in fp32, in the order of the machine's BLAS: right to the bit wherever sums are exact."""
    total = a @ b
    return total if c is None else total + np.asarray(c, np.float32)


FORMATS = {"bf16": torch.bfloat16, "f16": torch.float16, "f8E4M3FN": torch.float8_e4m3fn}
"""Elements of operands -> their format, of those that bit models multiply."""
UNITS_OF = {
    "sm_90": ("wgmma", "wgmma fp8"),
    "sm_100": ("tcgen05", "tcgen05 fp8"),
    "sm_103": ("tcgen05", "tcgen05 fp8"),
    "sm_120": ("mma.sync",),
}
"""Architecture -> the matrix units of its 16-bit products and of its 8-bit ones, in `msa_ref.matrix_units`."""


def unit_dot(architecture: str) -> Callable[[Matrix, Matrix, Any, str], Matrix]:
    """Sums as an architecture's matrix units make them, bit for bit."""
    units = [UNITS[name] for name in UNITS_OF[architecture]]

    def dot(a: Matrix, b: Matrix, c: Any, element: str) -> Matrix:
        start = None if c is None else torch.from_numpy(np.ascontiguousarray(c, np.float32))
        number = int(FORMATS[element].itemsize == 1) if element in FORMATS else len(units)
        if number >= len(units):
            raise NotModelled(f"the twin has no bit model of products in {element}")
        left, right = (torch.from_numpy(np.ascontiguousarray(matrix)).to(FORMATS[element]) for matrix in (a, b.T))
        product: Matrix = unit_product(left, right, units[number], start).numpy()
        return product

    return dot
