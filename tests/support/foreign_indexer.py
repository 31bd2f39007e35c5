"""A foreign indexer in Triton: bf16 products, written as if there were no interpreter. It imports nothing of the suite
but what an adapter needs, and Triton first."""

import torch
import triton
import triton.language as tl

from fuzz.targets import Call, fill


@triton.jit
def _score_kernel(q_ptr, k_ptr, score_ptr, visible_len, HEADS: tl.constexpr, D: tl.constexpr, S: tl.constexpr):
    block = tl.program_id(0)
    heads, dims, tokens = tl.arange(0, 16), tl.arange(0, D), tl.arange(0, S)
    is_head = heads < HEADS
    q = tl.load(q_ptr + heads[:, None] * D + dims[None, :], mask=is_head[:, None], other=0.0)
    k = tl.load(k_ptr + (block * S + tokens[:, None]) * D + dims[None, :])
    score = tl.dot(q, tl.trans(k))
    is_seen = block * S + tokens < visible_len
    score = tl.where(is_seen[None, :] & (score == score), score, -float("inf"))
    tl.store(score_ptr + heads * tl.num_programs(0) + block, tl.max(score, 1), mask=is_head)


@triton.jit
def _assembly_kernel(out_ptr):
    tl.store(out_ptr, tl.inline_asm_elementwise("mov.u32 $0, 7;", "=r", [], tl.int32, True, 1))


@triton.jit
def _endless_kernel(flag_ptr):
    flag = tl.load(flag_ptr)
    while flag == 0:
        flag = tl.load(flag_ptr, volatile=True)


def in_bf16(call: Call) -> torch.Tensor:
    """The rule by hand, with one launch for each query token."""
    batch, config = call.batch, call.batch.config
    answer = torch.full((config.num_index_heads, batch.total_q, config.topk_blocks), -1, dtype=torch.int32)
    token = 0
    for req, (query_len, seq_len) in enumerate(zip(call.query_lens, call.seq_lens, strict=True)):
        for visible_len in range(seq_len - query_len + 1, seq_len + 1):
            n = config.num_blocks(max(0, visible_len))
            if n:
                keys = batch.index_k_pages[batch.block_table[req, :n].long()].contiguous()
                score = torch.empty((config.num_index_heads, n))
                sizes = (config.num_index_heads, config.index_head_dim, config.block_size)
                _score_kernel[(n,)](batch.index_q[token].contiguous(), keys, score, visible_len, *sizes)
                answer[:, token] = _selected(score, config.topk_blocks, config.init_blocks, config.local_blocks)
            token += 1
    return fill(call, answer)


def _selected(score: torch.Tensor, topk: int, init: int, local: int) -> torch.Tensor:
    n, is_forced = score.shape[1], torch.zeros(score.shape, dtype=torch.bool)
    is_forced[:, :init] = True
    is_forced[:, max(0, n - local) :] = True
    order = score.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, is_forced.gather(1, order).long().argsort(dim=1, descending=True, stable=True))
    ids = torch.full((len(score), topk), -1, dtype=torch.int32)
    ids[:, : min(topk, n)] = order[:, :topk].sort(dim=1).values
    return ids


def in_assembly(call: Call) -> torch.Tensor:
    """A kernel that no interpreter can run."""
    _assembly_kernel[(1,)](torch.zeros(1, dtype=torch.int32, device=call.batch.device))
    return in_bf16(call)


def in_an_endless_loop(call: Call) -> torch.Tensor:
    """A kernel that waits for a flag which nobody sets."""
    _endless_kernel[(1,)](torch.zeros(1, dtype=torch.int32, device=call.batch.device))
    return in_bf16(call)


def on_a_gpu(call: Call) -> torch.Tensor:
    """Tensors of a GPU, wherever its inputs are."""
    return in_bf16(call).cuda()
