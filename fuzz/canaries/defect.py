"""A planted defect: what is broken, which laws must catch it, and the target that has it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from fuzz.canaries.field_defects import FIELD_DEFECTS
from fuzz.cases.scale import MAX_DECODE_QUERY_LEN
from fuzz.targets import Target
from msa_ref.config import require
from msa_ref.profile import Profile

NEEDS = (
    *("gpu", "Hopper", "Blackwell", "early Gluon", "twin"),
    *("graph", "far memory", "far rows", "fence", "large cases", "tiles of rows"),
)
"""Words for what a machine must have to show a defect.

Hopper: a GPU of sm_90, or its twin.
Blackwell: a GPU of sm_100 or sm_103, or its twin.
early Gluon: Triton 3.6, with which Hopper's prefill scorer copies queries (`msa_fast.ops.hopper.score.IS_B_SHARED`).
twin: a model of what a kernel's author must state, here that releases of Triton add where it is left out.
far memory: room for tensors whose offsets pass 2**31: a GPU's memory, or a CPU's address space.
far rows: address space for queries and block tables whose offsets pass 2**31, which only a CPU gives without memory.
fence: memory that ends where tensors end (`fuzz.inputs.guard_pages`); a CPU has it.
large cases: those that a gate has on a CPU alone (`fuzz.cases.large`).
tiles of rows: selection programs of several rows, which only the interpreter runs (`msa_fast.ops.launch_table`).
"""


def _allows(field: str, is_enough: Callable[[int], bool]) -> Callable[[Profile], bool]:
    """The test that a set, or a bound, of a profile allows a number that is enough."""

    def holds(profile: Profile) -> bool:
        allowed = getattr(profile, field)
        return allowed is None or any(map(is_enough, allowed if isinstance(allowed, tuple) else (allowed,)))

    return holds


def _rows(profile: Profile) -> int:
    """Bound on the (head, token) rows of a request."""
    heads, tokens = profile.num_index_heads, profile.max_query_len
    return MANY_ROWS if heads is None or tokens is None else max(heads) * tokens


MANY_ROWS = 2**20
"""Rows of a request that no profile bounds."""

ASKS: dict[str, Callable[[Profile], bool]] = {
    "several heads": _allows("num_index_heads", lambda heads: heads > 1),
    "13 heads": _allows("num_index_heads", lambda heads: heads >= 13),
    "33 slots": _allows("topk_blocks", lambda slots: slots >= 33),
    "65 rows of a request": lambda profile: _rows(profile) >= 65,
    "several requests": _allows("max_num_reqs", lambda reqs: reqs > 2),
    "several tokens": _allows("max_query_len", lambda tokens: tokens > 1),
    "prefill": _allows("max_query_len", lambda tokens: tokens > MAX_DECODE_QUERY_LEN),
    "init and local blocks": lambda profile: ASKS["init blocks"](profile) and ASKS["local blocks"](profile),
    "init blocks": _allows("init_blocks", lambda blocks: blocks > 0),
    "local blocks": _allows("local_blocks", lambda blocks: blocks > 0),
    "no local blocks": _allows("local_blocks", lambda blocks: blocks == 0),
    "192 dims": _allows("index_head_dims", lambda dims: dims >= 192),
    "192 tokens": _allows("block_sizes", lambda tokens: tokens >= 192),
    "strides": lambda profile: profile.strides == "any",
    "fp32": lambda profile: torch.float32 in profile.dtypes,
    "e4m3": lambda profile: torch.float8_e4m3fn in profile.dtypes,
    "nvfp4": lambda profile: (torch.float8_e4m3fn, torch.uint8) in profile.dtypes,
    "NaN": lambda profile: profile.nan == "minus-inf" and profile.infinities == "ordinary",
    "padding rows": lambda profile: profile.padding_rows == "pad",
    "padded queries": lambda profile: profile.padded_queries != "undefined",
    "several threads": lambda profile: profile.threads == "any",
    "another thread": lambda profile: profile.threads != "same",
    "lowest id": lambda profile: profile.tie_rule == "lowest-id",
    "ascending": lambda profile: profile.order == "ascending",
}
"""Words for what a target must promise for a defect to show: word -> whether a profile does."""


@dataclass(frozen=True)
class Defect:
    """One planted defect: a naive indexer (`canary`), a target that ends its process (`process`), or a `mutant`.

    name: an identifier; `fuzz.canaries:<name>` finds its target. sentence: what is broken.
    field_defect: its row in `fuzz.canaries.field_defects`, or `systematic`; `process` for a process canary.
    laws: a canary breaks every one of them, any other defect at least one.
    needs: what a machine must have to show it; of `NEEDS`.
    equivalent: one sentence that proves that no answer can change; empty for a defect.
    how: how a process canary's run must be said to have failed (`Violation.how`).
    asks: what a target must promise for it to show; of `ASKS`.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """

    name: str
    kind: Literal["canary", "process", "mutant"]
    field_defect: str
    sentence: str
    laws: tuple[str, ...]
    target: Target
    needs: tuple[str, ...] = ()
    equivalent: str = ""
    how: str = ""
    asks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), "name", "must be an identifier", repr(self.name))
        is_row = self.field_defect in (*FIELD_DEFECTS, "systematic", "process")
        require(is_row, "field_defect", "must be a row of the table, or systematic", repr(self.field_defect))
        require(bool(self.sentence), "sentence", "must say what is broken", repr(self.name))
        require(set(self.asks) <= set(ASKS), "asks", f"must be of {', '.join(ASKS)}", list(self.asks))
        require(set(self.needs) <= set(NEEDS), "needs", f"must be of {', '.join(NEEDS)}", list(self.needs))
        require(bool(self.laws) != bool(self.equivalent), "laws", "must be named unless it is equivalent", self.name)

    @property
    def target_name(self) -> str:
        """The name by which any process finds its target."""
        return f"fuzz.canaries:{self.name}"

    def shows_in(self, profile: Profile) -> bool:
        """True if a target of that profile promises what the defect breaks."""
        return all(ASKS[word](profile) for word in self.asks)
