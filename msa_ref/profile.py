"""The promises of a target. The suite's kernels promise the whole contract; a foreign kernel may promise less.

Which blocks, which of equals and in what order are three questions. A profile answers the last
two and says which inputs the target answers at all: judged outside of them it would be accused
of breaking a promise that it never made, so the verdict there is `Undefined`, which is no pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_origin

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import require
from msa_ref.formats import SUPPORTED_DTYPES


@dataclass(frozen=True)
class Profile:
    """The promises of one target, as plain data. The defaults are the contract.

    tie_rule: which of equal scores is selected; "any" promises nothing.
    order: how a row is written: ids ascending, best score first (forced blocks anywhere), or any.
    axes: "head-major" answers [H, T, K], "token-major" [T, H, K].
    nan: whether NaN scores count as -inf, or NaN and what may make it (an infinity) are outside.
    infinities: whether infinite inputs are ordinary, or outside.
    padding_rows: whether a row that sees nothing is all PAD, or outside.
    dtypes: of index_q and index_k_pages.
    index_head_dims, block_sizes: the values taken; None takes all.
    max_num_index_heads, max_topk_blocks, max_visible_blocks: the largest taken; None takes all.
    """

    name: str = "contract"
    tie_rule: Literal["lowest-id", "any"] = "lowest-id"
    order: Literal["ascending", "score-desc", "any"] = "ascending"
    axes: Literal["head-major", "token-major"] = "head-major"
    nan: Literal["minus-inf", "undefined"] = "minus-inf"
    infinities: Literal["ordinary", "undefined"] = "ordinary"
    padding_rows: Literal["pad", "undefined"] = "pad"
    dtypes: tuple[torch.dtype, ...] = SUPPORTED_DTYPES
    index_head_dims: tuple[int, ...] | None = None
    block_sizes: tuple[int, ...] | None = None
    max_num_index_heads: int | None = None
    max_topk_blocks: int | None = None
    max_visible_blocks: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if get_origin(field.type) is Literal:
                value, choices = getattr(self, field.name), get_args(field.type)
                require(value in choices, field.name, f"must be one of {', '.join(choices)}", repr(value))

    def head_major(self, topk_idx: torch.Tensor) -> torch.Tensor:
        """The answer as [H, T, K], whichever way the target wrote it. A view."""
        return topk_idx.transpose(0, 1) if self.axes == "token-major" else topk_idx

    def undefined(self, batch: PagedBatch) -> str | None:
        """The reason why a batch is outside the profile; None if it is inside. Looks at values; synchronizes."""
        return next((reason for is_outside, reason in self._limits(batch) if is_outside), None)

    def _limits(self, batch: PagedBatch) -> Iterator[tuple[bool, str]]:
        config, dtype = batch.config, batch.index_q.dtype
        yield dtype not in self.dtypes, f"{self.name} does not take {dtype}"
        for name, allowed in (("index_head_dim", self.index_head_dims), ("block_size", self.block_sizes)):
            size = getattr(config, name)
            yield allowed is not None and size not in allowed, f"{self.name} takes {name} in {allowed}, not {size}"

        for name, size, limit in (
            ("num_index_heads", config.num_index_heads, self.max_num_index_heads),
            ("topk_blocks", config.topk_blocks, self.max_topk_blocks),
            ("visible blocks", batch.max_visible_blocks(), self.max_visible_blocks),
        ):
            yield limit is not None and size > limit, f"{self.name} takes at most {limit} {name}, not {size}"
        sees_nothing = self.padding_rows == "undefined" and bool((batch.visible_lens() == 0).any())
        yield sees_nothing, f"{self.name} promises nothing for rows that see no token"
        if "undefined" in (self.nan, self.infinities):
            read = torch.cat([batch.index_q.flatten(), batch.index_k_pages[batch.live_slots()].flatten()])
            is_nan, is_inf = bool(read.isnan().any()), bool(read.isinf().any())
            yield self.nan == "undefined" and is_nan, f"{self.name} promises nothing for NaN"
            yield is_inf, f"{self.name} promises nothing for infinities, or for the NaN that they make"


CONTRACT = Profile()
"""The whole contract: ties to the lowest id, ids ascending, [H, T, K], every value, every size."""
