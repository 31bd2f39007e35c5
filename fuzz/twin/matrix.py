"""The matrix units that a twin may multiply by."""

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def exact_dot(a: Matrix, b: Matrix, c: Any) -> Matrix:
    """Sums in fp64, rounded once: right to the bit wherever sums are exact, in any order."""
    total = a.astype(np.float64) @ b.astype(np.float64)
    return (total if c is None else total + c).astype(np.float32)


def quick_dot(a: Matrix, b: Matrix, c: Any) -> Matrix:
    """Sums in fp32, in the order of the machine's BLAS: right to the bit wherever sums are exact."""
    total = a @ b
    return total if c is None else total + np.asarray(c, np.float32)
