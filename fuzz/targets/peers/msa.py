"""The selection kernel of MiniMax itself (fmha_sm100), which vLLM ships and runs on Blackwell, on given scores.

It is plain CUDA, so it is compiled here for the GPU at hand; what it selects is no matter of the architecture.
"""

from functools import cache
from typing import Any

import torch

from fuzz.targets.call import Call, fill
from fuzz.targets.not_applicable import NotApplicable
from fuzz.targets.peers.compiled import compiled
from fuzz.targets.peers.peer import peer, promises
from fuzz.targets.peers.vllm import PACKAGE, READ

MODULE = "vllm.third_party.fmha_sm100.api"
_API = "vllm/third_party/fmha_sm100/api.py"
_KERNEL = "vllm/third_party/fmha_sm100/csrc/include/sparse_topk_select.cuh"
_THK, MAX_TILES = 1, 12_287
"""Layout [T, H, K] of the scores; the most blocks of a row that the kernel takes."""


def topk_select(call: Call) -> torch.Tensor:
    """Top-k on scores [T, H, blocks], -inf behind those a row sees, as `MiniMaxM3IndexerMSAImpl` hands them over."""
    batch, config, score = call.batch, call.batch.config, call.score
    assert score is not None
    if score.shape[2] > MAX_TILES:
        raise NotApplicable(f"the vendor's kernel takes rows of at most {MAX_TILES:,} blocks")
    shape = (batch.total_q, config.num_index_heads, config.topk_blocks)
    topk_idx = torch.empty(shape, dtype=torch.int32, device=batch.device)
    if batch.total_q:
        counts = batch.num_visible_blocks().int()
        block = torch.arange(score.shape[2], device=batch.device)
        score = score.masked_fill(block >= counts[None, :, None], -torch.inf).transpose(0, 1).contiguous()
        stream = torch.cuda.current_stream().cuda_stream
        forced = (config.init_blocks, config.local_blocks)
        _kernel().sparse_topk_select(
            score, topk_idx, None, None, config.topk_blocks, score.shape[2], counts, *forced, _THK, stream
        )
    return fill(call, topk_idx.transpose(0, 1))


@cache
def _kernel() -> Any:
    source = PACKAGE.file("vllm/third_party/fmha_sm100/csrc/sparse_topk_select.cu")
    if source is None:
        raise NotApplicable("the sources of vllm/third_party/fmha_sm100/csrc are not here")
    text = f'#include "{source.name}"\n'
    module = compiled("msa_sparse_topk_select", text, [source.parent / "include", source.parent])
    module.sparse_topk_select_init()
    return module


_TOLD = promises(
    "MiniMax's selection",
    tie_rule=("any", f"{_API}:1324 sparse_topk_select: nothing is said of equal scores"),
    rank_bits=(22, f"{_KERNEL}:163 drops bits 0-1: of scores, where thousands agree in all others"),
    score_nan=("undefined", f"{_API}:1324 sparse_topk_select: nothing is said of NaN"),
    score_infinities=("undefined", f"{_API}:1347 -inf: marks tiles that are none"),
    max_abs_score=(3e38, f"{_KERNEL}:266 FLT_MAX: stands for the forced blocks"),
    topk_blocks=((16,), f"{_API}:1388 topk == 16"),
    max_visible_blocks=(MAX_TILES, f"{_API}:1421 max_k_tiles < 12288"),
)

_SENTENCE = "MiniMax's sparse_topk_select, which vLLM runs on Blackwell, on given scores."
PEERS = (peer(PACKAGE, MODULE, READ, "msa-topk", _TOLD, _SENTENCE, "any", topk_select, takes_score=True),)
