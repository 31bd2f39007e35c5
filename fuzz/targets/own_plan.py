"""The plan of a prefill call on the suite's own kernels: what its caller may choose is drawn from the call."""

from typing import Any

from fuzz.targets.call import Call

SLAB_BYTES = 1024
"""Bytes of memory for prefill's scores, times the split count: in a small case enough for a few query tiles."""


def plan_of(kernels: Any, call: Call, has_slabs: bool) -> Any:
    """The plan of a call by a package. has_slabs: a split count sets the workspace, too, for several slabs.

    In one batch of six it sets that alone. Of six batches two have the GPU's own tiles, one has tiles of 256 rows, and
    one of 192; two have what the plan likes.
    """
    batch, splits, own = call.batch, call.num_splits, kernels.ops.launch_table
    own_rows = own.number(own.SCORE_ROWS, own.architecture_of(batch.device))
    rows = (None, own_rows, 256, None, own_rows, 192)[batch.total_q % 6]
    workspace = {"workspace_bytes": SLAB_BYTES * splits} if has_slabs and splits else {}
    splits = None if has_slabs and batch.total_q % 6 == 0 and (splits or 0) > 0 else splits
    options = {"num_splits": splits, "key_dtype": batch.index_k_pages.dtype, "tile_rows": rows, **workspace}
    return kernels.PrefillPlan.build(batch.config, call.query_lens, call.seq_len_bounds, batch.device, **options)
