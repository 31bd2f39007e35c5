"""The numbers that stored bytes mean, by hand: fields of bits and lists of Python, nothing shared with msa_ref."""

import math
from collections.abc import Sequence

import torch

E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def e4m3(byte: int) -> float:
    """Sign, four bits of exponent with bias 7, three of fraction. All ones is NaN, exponent 0 is subnormal."""
    sign = -1.0 if byte & 0x80 else 1.0
    exponent, fraction = (byte >> 3) & 0xF, byte & 0x7
    if exponent == 0xF and fraction == 0x7:
        return math.nan
    if exponent == 0:
        return sign * fraction / 8 * 2.0**-6
    return sign * (1 + fraction / 8) * 2.0 ** (exponent - 7)


FINITE = [e4m3(byte) for byte in range(0x7F)]


def nearest_e4m3(value: float) -> float:
    """The nearest e4m3 number, of two equally near ones that with the even byte; 448 at most."""
    if math.isnan(value):
        return value
    size = min(abs(value), 1000.0)
    byte = min(range(0x7F), key=lambda byte: (abs(FINITE[byte] - size), byte % 2))
    return math.copysign(FINITE[byte], value)


def nvfp4_key(row: Sequence[int]) -> list[float]:
    """The numbers of one key: bytes of two codes each, the lower half first, then a scale for each 16 numbers."""
    dim = len(row) * 16 // 9
    numbers = []
    for element in range(dim):
        byte = row[element // 2]
        code = byte & 0xF if element % 2 == 0 else byte >> 4
        numbers.append(nearest_e4m3(E2M1[code] * e4m3(row[dim // 2 + element // 16])))
    return numbers


def numbers_of(tensor: torch.Tensor) -> list:
    """Nested lists of the numbers that a tensor of queries or keys holds."""
    if tensor.dtype == torch.uint8:
        return [[nvfp4_key(row) for row in page] for page in tensor.tolist()]
    if tensor.dtype == torch.float8_e4m3fn:
        return [[[e4m3(byte) for byte in row] for row in rows] for rows in tensor.view(torch.uint8).tolist()]
    return tensor.tolist()
