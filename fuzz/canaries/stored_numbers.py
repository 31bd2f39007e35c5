"""The numbers of stored queries and keys, read by numpy from their bytes: nothing shared with the reference."""

import numpy as np
import torch

E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
"""The number of each E2M1 code without its sign."""


def small_float(exponent_bits: int, fraction_bits: int, bias: int) -> np.ndarray:
    """[256] float64, the number of each byte: sign, exponent, fraction; subnormal at exponent 0; no NaN."""
    byte = np.arange(256)
    fraction, exponent = byte % (1 << fraction_bits), byte >> fraction_bits & ((1 << exponent_bits) - 1)
    is_normal = exponent > 0
    size = np.ldexp(fraction + is_normal * 2.0**fraction_bits, np.maximum(exponent, 1) - bias - fraction_bits)
    return np.asarray(np.where(byte >= 128, -size, size))


def e4m3() -> np.ndarray:
    """[256] float64, the number of each e4m3 byte, whose last code of either sign is NaN."""
    table = small_float(4, 3, 7)
    table[[0x7F, 0xFF]] = np.nan
    return table


def rounded_to_e4m3(numbers: np.ndarray) -> np.ndarray:
    """The nearest e4m3 numbers, ties to even, without a greatest one: the exponent may grow."""
    exponent = np.maximum(np.frexp(numbers)[1] - 1, -6)
    return np.asarray(np.ldexp(np.rint(np.ldexp(numbers, 3 - exponent)), exponent - 3))


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """The bytes of a tensor of one-byte elements."""
    array: np.ndarray = tensor.contiguous().view(torch.uint8).cpu().numpy()
    return array
