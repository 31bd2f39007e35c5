"""Memory for a step's prefills that an engine keeps: it serves the steps that fit, and must be refused for others."""

from functools import partial
from typing import Any

import torch

from fuzz.targets.own_promises import require_refusal


class KeptOuts:
    """Two outputs made for the first step with prefills, which later and longer steps are offered.

    One has no more rows. In the other the rows of a head that the first step needs not are the first ones of the next.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self.outs: list[torch.Tensor] = []

    def offer(self, index_query: torch.Tensor, index_k_pages: torch.Tensor, metadata: Any) -> None:
        """Hand them to the bound launch of a step's prefills: at first as good ones, then as bad ones."""
        if metadata.num_prefills == 0:
            return
        own, launch = metadata.num_prefill_tokens, metadata.prefill_msa.launch
        end = metadata.num_decode_tokens + own
        if not self.outs:
            self.num_rows, self.outs = end, _outs_of(end, metadata.prefill_msa.plan.config, index_query.device)
            for out in self.outs:
                launch(index_query, index_k_pages, out)
            return
        # Rows of decodes are not written here, so that those of prefills alone may fall on the next head's.
        for out, needed in zip(self.outs, (end, own), strict=False):
            if needed > self.num_rows:
                what = f"memory for {self.num_rows} rows was taken for {needed}"
                require_refusal("out must ", what, partial(launch, index_query, index_k_pages, out))


def _outs_of(num_rows: int, config: Any, device: torch.device) -> list[torch.Tensor]:
    """[H, num_rows, K], and [H, more, K] whose heads lie num_rows apart, int32."""
    heads, topk = config.num_index_heads, config.topk_blocks
    stride, more = num_rows * topk, 4 * num_rows
    memory = torch.zeros(heads * stride + more * topk, dtype=torch.int32, device=device)
    exact, overlapping = (memory.as_strided((heads, rows, topk), (stride, topk, 1)) for rows in (num_rows, more))
    return [exact] if heads == 1 else [exact, overlapping]
