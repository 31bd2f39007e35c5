"""A GPU's launch tables on the interpreter: what a CPU's own tables never execute.

The interpreter runs programs one by one, so there a program selects for many rows, in rounds of few candidates. A GPU
has a program for each row, with a search of its own (`msa_fast.ops.cut.find_cut_of_one`), and rounds of many.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TypeVar
from unittest.mock import patch

from fuzz.targets.call import Call

MAX_ROWS = 8
"""(token, head) rows of the largest batch that is selected from as on a GPU: each costs the interpreter a program."""
LONG_ROW = 256
"""Columns of a block table from which on a GPU's rounds are cut, too: fewer blocks take one of them."""
OF_SELECTION = ("TOPK_ROWS",)
"""Tables of `msa_fast.ops.launch_table` that say how many rows a program selects for."""
OF_ROUNDS = ("SUPERBLOCK", "MAX_RUNS", "MAX_RUNS_OF_BEST", "OWN_LOADS", "VECTOR_WIDTH")
"""Tables that cut a row into rounds, and rounds into loads."""


Answer = TypeVar("Answer")


def as_on_a_gpu(run: Callable[..., Answer]) -> Callable[..., Answer]:
    """The same run of a call on a package's kernels, by a GPU's tables where `gpu_tables` has them."""

    @wraps(run)
    def by_gpu_tables(call: Call, package: str = "msa_fast") -> Answer:
        with gpu_tables(call, package):
            return run(call, package)

    return by_gpu_tables


@contextmanager
def gpu_tables(call: Call, package: str) -> Iterator[None]:
    """Kernels inside are launched by a GPU's tables where a call is small enough; elsewhere nothing happens.

    package: the kernels' own, whose tables are exchanged meanwhile.
    """
    launch_table = importlib.import_module(f"{package}.ops.launch_table")
    batch = call.batch
    with ExitStack() as exchanged:
        if launch_table.IS_INTERPRETED and batch.total_q * batch.config.num_index_heads <= MAX_ROWS:
            for name in OF_SELECTION + (OF_ROUNDS if batch.max_blocks > LONG_ROW else ()):
                table = getattr(launch_table, name)
                exchanged.enter_context(patch.dict(table, interpreter=table[launch_table.ANY]))
        yield
