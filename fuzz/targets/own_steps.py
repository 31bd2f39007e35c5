"""The promise of the suite's own builder that a step launched as an earlier one of its kind is launched as its own.

A GPU's driver launches copies of an earlier step's launches, in which a few numbers are written anew. Here a driver
that launches nothing stands in, on any machine, and what both ways would pass to it is compared.
"""

import importlib
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any
from unittest.mock import patch

import torch

from fuzz.targets.broken_law import BrokenLaw
from fuzz.targets.own_driver import NUM_NAMED, Passed, driver_stands_in
from msa_ref import IndexerConfig

ARCHITECTURES = ("sm_90", "sm_100")
TOKENS = (1, 2, 16, 17, 31, 32, 33, 40, 60, 64, 100, 182, 500)
"""New tokens of a request: around the rows of a query tile, of a half of one, and others of as many tiles."""
BLOCKS = (1, 2, 8, 31, 32, 33, 40, 63, 64, 65, 127, 128, 129, 180, 300, 420)
"""Blocks behind them: around those where the selection takes another round, or more candidates."""
NUM_PAGES, MAX_TOKENS = 8, 2_100
_BF16, _E4M3 = torch.bfloat16, torch.float8_e4m3fn
_FORMATS = ((1, 260, (_BF16, _BF16)), (4, 260, (_BF16, _BF16)), (4, 90, (_BF16, _E4M3)), (4, 90, (_E4M3, _E4M3)))
"""Heads, random steps, and dtypes of queries and keys."""
_CHOICES: dict[str, Sequence[Any]] = {
    "tokens": TOKENS,
    "blocks": BLOCKS,
    "num_reqs": (1, 1, 1, 2, 3),
    "first_token": (0, 0, 2, 8),
    "more_columns": (0, 1, 16),
    "table_width": (640, 700),
    "metadata_at": (0, 0, 0, 1, 4),  # elements behind an address that 16 bytes divide
    "lens_step": (1, 1, 1, 2),  # 2: in a column of a table
    "offsets_step": (1, 1, 1, 2),
    "workspace_bytes": (1 << 29, 1 << 29, 1 << 17),  # the last one makes several slabs of some
    "wide": (0, 64),  # elements between the queries of two heads
    "has_more_rows": (False, True),
}


def compare_steps(
    package: str,
    config: IndexerConfig,
    num_steps: int,
    said: Passed,
    dtypes: tuple[torch.dtype, torch.dtype] = (_BF16, _BF16),
) -> int:
    """Launch random prefill steps of MiniMax-M3's shape both ways, where a driver stands in for a GPU's.

    said: what its launches pass. dtypes: of queries and keys.

    Returns:
        How many of them were launched as an earlier one.

    Raises:
        BrokenLaw: if one would pass something else than by its own launchers.
    """
    plans, bound, step_kinds = (
        importlib.import_module(f"{package}.ops.{name}") for name in ("prefill_plan", "bound", "step_kinds")
    )
    rng, kinds, num_again, kept = random.Random(config.num_index_heads), step_kinds.StepKinds(), 0, []
    heads, dim, size, k = config.num_index_heads, config.index_head_dim, config.block_size, config.topk_blocks
    out = torch.zeros(MAX_TOKENS, heads, k, dtype=torch.int32).transpose(0, 1)
    # As a projection of their own leaves them, and as a slice of a wider one.
    queries = {
        wide: torch.zeros(MAX_TOKENS, heads, dim + wide, dtype=dtypes[0])[..., :dim] for wide in _CHOICES["wide"]
    }
    pages = torch.zeros(NUM_PAGES, size, dim, dtype=dtypes[1])
    drawn: dict[str, Any] = {}
    for number in range(num_steps):
        # A step differs from the one before it in one thing, so that their kinds are the same as often as they may be.
        changed = _CHOICES if number % 16 == 0 else [rng.choice([*_CHOICES])]
        drawn |= {name: rng.choice(_CHOICES[name]) for name in changed}
        first_token, num_reqs, wide = drawn["first_token"], drawn["num_reqs"], drawn["wide"]
        query_lens = [drawn["tokens"], *(rng.choice(TOKENS) for _ in range(num_reqs - 1))]
        context = [drawn["blocks"], *(rng.choice(BLOCKS) for _ in range(num_reqs - 1))]
        seq_lens = [own + max(0, blocks * size - own) for own, blocks in zip(query_lens, context, strict=True)]
        width = drawn["more_columns"] + config.num_blocks(max(seq_lens))
        table = torch.zeros(num_reqs * drawn["table_width"] + 4, dtype=torch.int32)[drawn["metadata_at"] :]
        metadata = (
            table.as_strided((num_reqs, width), (drawn["table_width"], 1)),
            _apart(torch.tensor(seq_lens), drawn["lens_step"], drawn["metadata_at"]),
            _apart(torch.tensor([0, *query_lens]).cumsum(0), drawn["offsets_step"], drawn["metadata_at"]),
        )
        options = {"workspace_bytes": drawn["workspace_bytes"], "key_dtype": dtypes[1]}
        plan = plans.PrefillPlan.build(config, query_lens, seq_lens, "cpu", **options)
        rows = MAX_TOKENS if drawn["has_more_rows"] else first_token + plan.total_q
        num_patterns, launches = len(kinds.patterns), []
        for known_kinds in (None, kinds):
            said.clear()
            launch = bound.PrefillLaunch(plan, *metadata, first_token, known_kinds)
            launch(queries[wide][:rows], pages, out)
            (made,) = launch._bindings.values()
            launches.append(([*said], made.offsets, made.num_bytes))
        num_again += len(kinds.patterns) == num_patterns
        if launches[0] != launches[1]:
            what = f"a step of {query_lens} query tokens on {seq_lens}, from row {first_token} on"
            raise BrokenLaw("Exact", f"{what}, would be launched otherwise as a step of a known kind")
        kept.append((metadata, plan))  # so that no step gets the addresses of another
    _hold_to_own_memory(lambda: launch(queries[wide][:rows], pages, out), made)
    return num_again


def _apart(numbers: torch.Tensor, step: int, first: int) -> torch.Tensor:
    """The numbers as int32, `step` elements apart, from the element `first` of their memory on."""
    memory = torch.zeros(first + step * len(numbers), dtype=torch.int32)[first:]
    return memory[::step].copy_(numbers)


def _hold_to_own_memory(call: Callable[[], object], binding: Any) -> None:
    """Hold two calls of a bound launch, which two streams may make at once, to memory of their own for scores."""
    kept, new, addresses = [], torch.empty, []

    def kept_alive(*args: Any, **kwargs: Any) -> torch.Tensor:
        kept.append(new(*args, **kwargs))
        return kept[-1]

    with patch.object(torch, "empty", kept_alive):
        for _ in range(2):
            call()
            addresses.append(
                [
                    one._values[place]
                    for one in binding.driven
                    for place, which, *_ in one._pointers
                    if which >= NUM_NAMED
                ]
            )
    if any(address == other for address, other in zip(*addresses, strict=True)):
        raise BrokenLaw("OwnMemory", "two calls of a bound launch have their scores in the same memory")


@cache
def hold_to_own_launches(package: str) -> None:
    """Hold the steps of a package to what their own launchers pass: once in a process, on the interpreter alone.

    Raises:
        BrokenLaw: if one would be launched otherwise.
    """
    said: Passed = []
    if importlib.import_module(f"{package}.ops.launch_table").IS_INTERPRETED:
        for architecture, (heads, num_steps, dtypes) in product(ARCHITECTURES, _FORMATS):
            with driver_stands_in(package, architecture, said):
                compare_steps(package, IndexerConfig(num_index_heads=heads), num_steps, said, dtypes)
