"""The one change of a step that leaves everything in front as it was: of a late query token, of a late page, of keys.

What was kept by the first queries or pages, or by a page's first keys or their sum, is not found out of date by them.
"""

import torch

from fuzz.cases.case import Case, Step
from fuzz.inputs.bit_equality import same_width
from fuzz.inputs.page_layout import Layout, live_tokens
from msa_ref import PagedBatch

SIGNS_OF_CODES = -0x78
"""The signs of two E2M1 codes in a byte, as int8."""


def change_late(case: Case, step: Step, layout: Layout, batch: PagedBatch) -> None:
    """Reverse the heads of the last query token whose blocks compete for slots, or change keys.

    The keys of a late page, the last one, by its id, of a block that competes, are negated. Or the keys in the second
    half of every page exchange the second half of their coordinates, so that all sums over a page stay as they are.
    """
    reqs = [req for req, request in enumerate(step.requests) if case.has_choice(request)]
    if step.late == "query":
        last = sum(request.query_len for request in step.requests[: reqs[-1] + 1]) - 1
        row = same_width(batch.index_q)[last]
        row.copy_(row.flip(0))
        return
    if step.late == "keys":
        half, middle = case.config.block_size // 2, case.config.index_head_dim // 2
        for page, num_live in enumerate(live_tokens(case, step, layout).tolist()):
            keys = same_width(batch.index_k_pages)[page, half:num_live, middle:]
            keys.copy_(keys.flip(0))
        return
    pages = (layout.page[req][case.config.init_blocks : _end(case, step, req)] for req in reqs)
    page = max(int(ids.max()) for ids in pages)
    keys = same_width(batch.index_k_pages)[page, : int(live_tokens(case, step, layout)[page])]
    if case.formats.keys.numbers:
        keys[:, : case.config.index_head_dim // 2].bitwise_xor_(SIGNS_OF_CODES)
    else:
        keys.bitwise_xor_(torch.iinfo(keys.dtype).min)


def _end(case: Case, step: Step, req: int) -> int:
    """One more than the last block of a request that competes for a slot of its last token."""
    return case.config.num_blocks(step.requests[req].seq_len) - case.config.local_blocks
