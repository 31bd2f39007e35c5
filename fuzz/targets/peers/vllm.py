"""vLLM's Triton indexer: prefill, decode, and decode in a CUDA graph, called as its `MiniMaxM3IndexerTritonImpl` does.

The impl itself wants an engine around it (forward context, cache manager), so the adapters call the operators that
its `forward` calls, with the arguments that its metadata builder makes of a batch.
"""

from functools import partial
from types import ModuleType

import torch

from fuzz.targets.call import Call, fill
from fuzz.targets.not_applicable import NotApplicable
from fuzz.targets.peers.package import Package, StandIns
from fuzz.targets.peers.peer import peer, promises
from fuzz.targets.peers.tuning import settle_tuning

READ = "vllm 0.33.0"
MODULE = "vllm.models.minimax_m3.common.ops.index_topk"
_OPS = "vllm/models/minimax_m3/common/ops/index_topk.py"
_INDEXER = "vllm/models/minimax_m3/common/indexer.py"


class _Platform:
    """The little that the operators ask of `vllm.platforms.current_platform`."""

    @staticmethod
    def is_cuda() -> bool:
        return torch.cuda.is_available()

    @staticmethod
    def is_rocm() -> bool:
        return torch.version.hip is not None

    @staticmethod
    def is_device_capability(capability: tuple[int, int]) -> bool:
        return torch.cuda.is_available() and torch.cuda.get_device_capability() == capability

    @staticmethod
    def is_arch_support_pdl() -> bool:
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (9, 0)


def _stand_ins() -> StandIns:
    import triton
    import triton.language

    return {
        "vllm.platforms": {"current_platform": _Platform()},
        "vllm.triton_utils": {"triton": triton, "tl": triton.language},
        "vllm.utils.math_utils": {"round_up": lambda size, unit: -(-size // unit) * unit},
    }


PACKAGE = Package("vllm", "vllm", _stand_ins)


def _operators() -> ModuleType:
    operators = PACKAGE.module(MODULE)
    settle_tuning(operators, "_topk_index_kernel", "_topk_index_partial_kernel")
    return operators


def prefill(call: Call) -> torch.Tensor:
    """Score kernel, then top-k kernel, on the metadata of an eager prefill batch."""
    operators, batch, config = _operators(), call.batch, call.batch.config
    if batch.total_q == 0:  # the impl calls neither kernel then
        return _no_rows(call)
    cu_seqlens_q, seq_lens = batch.cu_seqlens_q.contiguous(), batch.seq_lens.contiguous()
    context_lens, max_query_len = seq_lens - cu_seqlens_q.diff(), max(call.query_lens)
    score = operators.minimax_m3_index_score(
        batch.index_q,
        batch.index_k_pages,
        batch.block_table.contiguous(),
        cu_seqlens_q,
        seq_lens,
        context_lens,
        max_query_len,
        max(call.seq_len_bounds),
        config.num_index_heads,
    )
    call.show(score)
    topk_idx: torch.Tensor = operators.minimax_m3_index_topk(
        score,
        cu_seqlens_q,
        context_lens,
        max_query_len,
        config.topk_blocks,
        config.init_blocks,
        config.local_blocks,
        out=call.out,
    )
    return topk_idx


def topk(call: Call) -> torch.Tensor:
    """The top-k kernel of prefill alone, on given scores."""
    operators, batch, config = _operators(), call.batch, call.batch.config
    if batch.total_q == 0:
        return _no_rows(call)
    cu_seqlens_q, seq_lens = batch.cu_seqlens_q.contiguous(), batch.seq_lens.contiguous()
    topk_idx: torch.Tensor = operators.minimax_m3_index_topk(
        call.score,
        cu_seqlens_q,
        seq_lens - cu_seqlens_q.diff(),
        max(call.query_lens),
        config.topk_blocks,
        config.init_blocks,
        config.local_blocks,
        out=call.out,
    )
    return topk_idx


def decode(call: Call, is_captured: bool = False) -> torch.Tensor:
    """Split-K score kernel, then split-K top-k.

    is_captured: the host's bound on lengths is then that of the table, as a capture knows no other.
    """
    operators, batch, config = _operators(), call.batch, call.batch.config
    if batch.total_q == 0:
        return _no_rows(call)
    query_len, rest = divmod(batch.total_q, batch.num_reqs)
    if rest or query_len > call.decode_query_len:
        raise NotApplicable("vLLM's builder makes decode batches of equal query lengths alone")
    max_seq_len = batch.max_blocks * config.block_size if is_captured else max(1, *call.seq_len_bounds)
    shape = (config.num_index_heads, batch.total_q, config.num_blocks(max_seq_len))
    score = None if is_captured else torch.empty(shape, dtype=torch.float32, device=batch.device)
    topk_idx: torch.Tensor = operators.minimax_m3_index_decode(
        batch.index_q,
        batch.index_k_pages,
        batch.block_table.contiguous(),
        batch.seq_lens.contiguous(),
        max_seq_len,
        config.topk_blocks,
        config.init_blocks,
        config.local_blocks,
        config.num_index_heads,
        query_len,
        call.decode_query_len,
        out=call.out,
        score_out=score,
    )
    if score is not None:
        call.show(score, forced="encoded")
    return topk_idx


def _no_rows(call: Call) -> torch.Tensor:
    config = call.batch.config
    shape = (config.num_index_heads, 0, config.topk_blocks)
    return fill(call, torch.empty(shape, dtype=torch.int32, device=call.batch.device))


_ALL = {
    "tie_rule": ("any", f"{_OPS}:31 _compare_and_swap: compares scores alone"),
    "order": ("any", f"{_OPS}:895 minimax_m3_index_decode: block ids, -1 behind them; no order is named"),
    "max_abs_score": (1e29, f"{_OPS}:266 1e29: 1e30 and 1e29 stand for the forced blocks"),
    "block_sizes": ((128,), f"{_INDEXER}:94 get_supported_kernel_block_sizes"),
    "num_index_heads": ((1, 2, 4), f"{_INDEXER}:229 total_index_heads: the model's 4, divided among ranks"),
    "topk_blocks": (tuple(range(1, 33)), f"{_OPS}:230 BLOCK_SIZE_T: less than the smallest tile, 64, of the tuner"),
}
_NAN = ("undefined", f"{_OPS}:257 score != score: NaN becomes the -1e30 that also fills empty slots")
_INFINITIES = ("undefined", f"{_OPS}:31 _compare_and_swap: multiplies scores by 0 and 1, and 0 * inf is NaN")
_SCORED = _ALL | {
    "nan": _NAN,
    "infinities": _INFINITIES,
    "dtypes": ((torch.bfloat16,), f"{_INDEXER}:121 cache_dtype: keys are bf16, or e4m3 on request"),
    "index_head_dims": ((128,), f"{_INDEXER}:90 get_supported_head_sizes"),
}
_EAGER = {
    "padding_rows": ("undefined", f"{_INDEXER}:283 compute_num_computed_tokens: context lengths are never negative")
}
_PREFILL = promises("vLLM prefill", **_SCORED, **_EAGER)
_TOPK = promises("vLLM top-k", **_ALL, **_EAGER, score_nan=_NAN, score_infinities=_INFINITIES)
_DECODE = promises(
    "vLLM decode",
    **_SCORED,
    query_lens=("uniform", f"{_INDEXER}:304 decode_query_len: asserts that all requests have as many tokens"),
)


_peer = partial(peer, PACKAGE, MODULE, READ)

PEERS = (
    _peer("vllm-prefill", _PREFILL, "vLLM's Triton prefill: score kernel, then top-k kernel.", "prefill", prefill),
    _peer("vllm-topk", _TOPK, "vLLM's Triton top-k of prefill, on given scores.", "any", topk, takes_score=True),
    _peer("vllm-decode", _DECODE, "vLLM's Triton decode: split-K score, then split-K top-k.", "decode", decode),
    _peer(
        "vllm-decode-graph",
        _DECODE,
        "vLLM's Triton decode in a CUDA graph, captured once and replayed.",
        "decode",
        partial(decode, is_captured=True),
        is_graph=True,
    ),
)
