"""FlashInfer's selection for MiniMax-M3, on given scores. It serves Blackwell GPUs alone."""

import torch

from fuzz.targets.call import Call, fill
from fuzz.targets.not_applicable import NotApplicable
from fuzz.targets.peers.package import Package
from fuzz.targets.peers.peer import peer, promises

READ = "flashinfer-python 0.7.2.post1"
MODULE = "flashinfer.msa_ops.sparse_topk_select"
PACKAGE = Package("flashinfer", "flashinfer-python")
_FILE = "flashinfer/msa_ops/sparse_topk_select.py"
PER_TOKEN, PER_BATCH = ((12, 0), (12, 1)), ((10, 0), (10, 3))
"""Compute capabilities on which each token has a block count of its own, and on which the whole batch has one."""


def topk_select(call: Call) -> torch.Tensor:
    """Top-k on scores [H, blocks, T]; blocks that a row does not see are -inf, as its caller has to make them."""
    batch, config = call.batch, call.batch.config
    has = torch.cuda.get_device_capability(batch.device) if batch.device.type == "cuda" else None
    if has not in PER_TOKEN + PER_BATCH:
        served = ", ".join(f"{major}.{minor}" for major, minor in PER_BATCH + PER_TOKEN)
        got = "a CPU" if has is None else f"{has[0]}.{has[1]}"
        raise NotApplicable(f"FlashInfer serves compute capabilities {served} alone; got {got}")
    counts = batch.num_visible_blocks().int()
    if has in PER_BATCH and len(set(counts.tolist())) != 1:
        raise NotApplicable("FlashInfer takes one block count for a whole batch on SM100 and SM103")
    assert call.score is not None
    block = torch.arange(call.score.shape[2], device=batch.device)
    score = call.score.masked_fill(block >= counts[None, :, None], -torch.inf)
    topk_idx: torch.Tensor = PACKAGE.module(MODULE).msa_topk_select(
        score.transpose(1, 2).contiguous(),
        config.topk_blocks,
        num_valid_pages=counts if has in PER_TOKEN else int(counts[0]),
        force_begin_blocks=config.init_blocks,
        force_end_blocks=config.local_blocks,
    )
    return fill(call, topk_idx.transpose(0, 1))


_TOLD = promises(
    "FlashInfer",
    tie_rule=("any", f"{_FILE}:177 near-tied scores: either block may be selected"),
    score_nan=("undefined", f"{_FILE}:132 max_score: nothing is said of NaN"),
    score_infinities=("undefined", f"{_FILE}:136 -inf: marks tiles that are none"),
    padding_rows=("undefined", f"{_FILE}:258 num_valid_pages: a batch's count is at least 1"),
    topk_blocks=((16,), f"{_FILE}:209 topk must be 16"),
)

_SENTENCE = "FlashInfer's msa_topk_select, on given scores (Blackwell)."
PEERS = (peer(PACKAGE, MODULE, READ, "flashinfer", _TOLD, _SENTENCE, "any", topk_select, takes_score=True),)
