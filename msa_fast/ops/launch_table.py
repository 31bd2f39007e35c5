"""Launch choices in plain tables, by architecture and kind of keys. No run-time tuning.

They change speed, never a bit of an answer on exact inputs. The figures behind them are results of
`python -m msa_fast.bench`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
import triton

from msa_fast.ops.dot import IS_INTERPRETED


@dataclass(frozen=True)
class Launch:
    """The options by which a kernel is compiled and launched: warps, pipeline stages, register cap (0: none)."""

    num_warps: int
    num_stages: int
    maxnreg: int = 0

    def options(self, architecture: str) -> dict[str, int]:
        """Keyword arguments of a Triton launch; the register cap exists on NVIDIA alone."""
        options = {"num_warps": self.num_warps, "num_stages": self.num_stages}
        if self.maxnreg and architecture.startswith("sm_"):
            options["maxnreg"] = self.maxnreg
        return options


ANY = "any"

SCORE_ROWS = {"sm_100": 256, "sm_103": 256, ANY: 128}
"""Query rows (token, head) of one score tile. On Blackwell a program reads each page for two products of 128 rows: the
L2 cache would not feed one."""
KeyKind = int | str
"""Bytes of a key's element, `nvfp4` where elements are packed, or ANY."""
Entry = TypeVar("Entry")
PROGRAM_ROWS: dict[tuple[str, KeyKind], int] = {
    ("interpreter", 4): 64,
    (ANY, 4): 16,
    (ANY, "nvfp4"): 64,
    (ANY, ANY): 128,
}
"""Rows that one program of the generic scorer takes at most: a larger score tile is shared out. Few in fp32, whose
products are multiply-adds with all operands in registers, but for the interpreter, which runs programs one by one; half
where keys are unpacked in registers."""
MAX_WARP_TOPK = {"sm_90": 32, "sm_100": 32, "sm_103": 32, ANY: 0}
"""Selected blocks of a row, at most, for which one warp selects from all its scores, so that a prefill keeps no best
scores of superblocks and its score programs may begin at any block. 0: no kernel does."""
SUPERBLOCK = {"interpreter": 2, ANY: 8}
"""Blocks whose best score the prefill scorer keeps beside their scores. Eight: up to 1,024 blocks a
row has no more superblocks than a round ranks at once. Two on the interpreter, where cases are short."""
WORKSPACE_BYTES = 512 << 20
"""Bytes of scores that a prefill allocates at most: enough for 3,640 tokens of 4 heads at 8,192 blocks."""
MAX_PROGRAM_BLOCKS = 128
"""Key blocks of one score program: beyond this many, its prologue no longer counts."""
TOPK_ROWS = {"interpreter": 64, ANY: 1}
"""Rows of one selection program. One on GPUs: its counts are scalars, it waits for no other row, and many
such programs hide each other's loads. The interpreter runs programs one by one, so few are faster."""
MAX_RUNS = {"interpreter": 32, ANY: 256}
"""Candidates of the first round of a selection, unless a later round has more: one more round costs more
than twice the candidates. Few on the interpreter, so that short rows take several rounds."""
MAX_RUNS_OF_BEST = {"interpreter": 8, ANY: 128}
"""Candidates of the first round where the scorer left the best scores of superblocks: in prefill, where
many rows share a multiprocessor, so work counts more than latency."""
OWN_LOADS = {"interpreter": 2, ANY: 16}
"""Scores of the longest run that one thread reads alone, while its warp reads many cache lines at once;
the threads of a warp read longer runs side by side. Two on the interpreter, so that it does both."""
VECTOR_WIDTH = {"interpreter": 16, ANY: 128}
"""Candidates of the smallest first round in which a thread holds several side by side, as one load reads them.
Few on the interpreter, so that it does both."""
ONE_WARP_SCORES = 2048
"""Scores of the longest row that one warp reads; four warps read longer ones."""


def number(table: dict[str, int], architecture: str) -> int:
    """The value of a table for an architecture: its own, or else that of ANY."""
    return table.get(architecture, table[ANY])


def topk_warps(num_scores: int) -> int:
    """Warps of a selection program whose first round reads num_scores scores of each row."""
    return 1 if num_scores <= ONE_WARP_SCORES else 4


EARLY: dict[str, int] = {"sm_90": True, "sm_100": True, "sm_103": True, "sm_120": True, ANY: False}
"""True if a kernel can be launched while the one before it runs, and wait for it on the GPU."""
TENSOR_COPY: dict[str, int] = {"sm_90": True, "sm_100": True, "sm_103": True, ANY: False}
"""True if decode copies a page of keys by tensor descriptor. Not on sm_120: three pages do not fit there."""

KEY_WORDS: dict[str, int] = {
    "interpreter": True,
    "gfx942": False,
    "gfx950": False,
    ANY: tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 7),
}
"""True if NVFP4 keys are read in words of eight bytes. Not where that spills: on AMD's GPUs, and by Triton 3.6."""

SCORE: dict[tuple[str, KeyKind], Launch] = {
    # Two programs share a multiprocessor, one in its products while the other takes its maxima;
    # 128 registers is what that leaves each thread.
    ("sm_90", 2): Launch(num_warps=8, num_stages=2, maxnreg=128),
    # The same where the accumulators lie in tensor memory, 128 of its 512 columns for each program.
    ("sm_100", 2): Launch(num_warps=8, num_stages=2, maxnreg=128),
    ("sm_103", 2): Launch(num_warps=8, num_stages=2, maxnreg=128),
    # Keys of one byte are widened in registers: half of them would not do.
    ("sm_100", 1): Launch(num_warps=4, num_stages=2),
    ("sm_103", 1): Launch(num_warps=4, num_stages=2),
    (ANY, 1): Launch(num_warps=8, num_stages=2),
    (ANY, "nvfp4"): Launch(num_warps=8, num_stages=2),
    (ANY, 2): Launch(num_warps=8, num_stages=2),
    (ANY, 4): Launch(num_warps=8, num_stages=1),
}
DECODE: dict[tuple[str, KeyKind], Launch] = {
    ("gfx942", 2): Launch(num_warps=4, num_stages=2),  # 64 KiB of LDS
    ("gfx942", 4): Launch(num_warps=4, num_stages=1),  # its warps are twice as wide
    ("gfx950", 4): Launch(num_warps=4, num_stages=1),
    ("sm_120", 2): Launch(num_warps=8, num_stages=3),
    # All registers that a thread can have. Without a number the assembler of Triton 3.9 aims at 80, and spills.
    ("sm_120", "nvfp4"): Launch(num_warps=8, num_stages=2, maxnreg=255),
    ("gfx942", "nvfp4"): Launch(num_warps=4, num_stages=1),
    (ANY, 1): Launch(num_warps=4, num_stages=3),
    (ANY, "nvfp4"): Launch(num_warps=8, num_stages=2),
    (ANY, 2): Launch(num_warps=4, num_stages=3),
    (ANY, 4): Launch(num_warps=8, num_stages=1),  # 8 tokens of 4 heads are many operands in registers
}


def key_kind(key_dtype: torch.dtype) -> KeyKind:
    """The kind of keys, by which launches are chosen, of the dtype of their tensor."""
    return "nvfp4" if key_dtype == torch.uint8 else key_dtype.itemsize


def entry_for(table: Mapping[tuple[str, KeyKind], Entry], architecture: str, kind: KeyKind) -> Entry:
    """The entry for an architecture and a kind of keys, or else the first for ANY kind, ANY architecture, or both."""
    for place in ((architecture, kind), (architecture, ANY), (ANY, kind)):
        if place in table:
            return table[place]
    return table[ANY, ANY]


def architecture_of(device: torch.device) -> str:
    """sm_90, gfx942, ...; `interpreter` where kernels are interpreted."""
    if IS_INTERPRETED or device.type != "cuda":
        return "interpreter"
    return _architecture_of(device.index) if device.index is not None else _architecture_of.__wrapped__(None)


def num_processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; four for the interpreter."""
    if device.type != "cuda":
        return 4
    return _num_processors_of(device.index) if device.index is not None else _num_processors_of.__wrapped__(None)


# A GPU is asked once. Without an index it is the current one, which may be another at the next call.


@cache
def _architecture_of(index: int | None) -> str:
    properties: Any = torch.cuda.get_device_properties(index)
    if torch.version.hip:
        return str(properties.gcnArchName.split(":")[0])
    return f"sm_{properties.major}{properties.minor}"


@cache
def _num_processors_of(index: int | None) -> int:
    return int(torch.cuda.get_device_properties(index).multi_processor_count)


def next_power_of_2(value: int) -> int:
    """The smallest power of two >= value: the length of an arange."""
    return int(triton.next_power_of_2(value))
