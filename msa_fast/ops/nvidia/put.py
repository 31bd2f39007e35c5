"""Stores of block scores, for the prefill scorers in Gluon: one by one, in vectors, and as bests of superblocks."""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from msa_ref.batch import PagedBatch


@gluon.jit
def put_best(
    best, held, is_row, score_rows, best_rows, block, first_block, end_block, num_blocks, stride_score_b,
    stride_best_b, SUPERBLOCK: gl.constexpr, VECTOR: gl.constexpr, IS_INSIDE: gl.constexpr = False,
    IS_ALONE: gl.constexpr = False,
):  # fmt: skip
    """Store a block's scores. Returns what later blocks need of it: its vector, or the best of its superblock so far.

    best: fp32 [ROWS]. VECTOR > 1: held is [ROWS, VECTOR], of a layout where a row's threads are those that have it in
    best; scores of VECTOR blocks are held and stored together, and behind the last of num_blocks blocks -inf fills the
    vector. IS_INSIDE: the program has another block behind this one, so that a vector is stored only once it is full.
    IS_ALONE: one thread holds a row's vector, and stores it at once where no mask lies between its parts.
    """
    if VECTOR > 1:
        vectors: gl.constexpr = held.type.layout
        place = gl.arange(0, VECTOR, layout=gl.SliceLayout(0, vectors))[None, :]
        own = block % VECTOR
        best = gl.convert_layout(best, gl.SliceLayout(1, vectors), assert_trivial=True)[:, None]
        if not IS_INSIDE:
            held = gl.where(place < own, held, float("-inf"))
        held = gl.where(place == own, best, held)
        # Written as a multiple, so that the compiler sees aligned vectors.
        at = (block // VECTOR).to(gl.int64) * stride_score_b
        if IS_INSIDE:
            is_own = place >= first_block - (block - own)
            is_whole = own == VECTOR - 1
        else:
            is_whole = (own == VECTOR - 1) | (block + 1 == end_block)
            is_own = (place >= first_block - (block - own)) & ((place <= own) | (block + 1 == num_blocks))
        if IS_INSIDE and IS_ALONE:
            if is_whole:
                if first_block <= block - own:
                    gl.store(score_rows + at + place, held, mask=is_row)
                else:
                    gl.store(score_rows + at + place, held, mask=is_row & is_own)
        else:
            gl.store(score_rows + at + place, held, mask=is_row & is_own & is_whole)
    else:
        gl.store(score_rows + block.to(gl.int64) * stride_score_b, best, mask=is_row)
        if SUPERBLOCK > 0:
            held = gl.where(block % SUPERBLOCK == 0, best, gl.maximum(held, best))
            is_whole = ((block + 1) % SUPERBLOCK == 0) | (block + 1 == end_block)
            gl.store(best_rows + (block // SUPERBLOCK).to(gl.int64) * stride_best_b, held, mask=is_row & is_whole)
    return held


def has_flat_rows(batch: PagedBatch, score: torch.Tensor | None, superblock_score: torch.Tensor | None) -> bool:
    """True if rows (token, head) lie one stride apart in the scores, and in the bests of superblocks, if any.

    score: None if it will lie in vectors, whose rows do so in either way.
    """
    outputs = [output for output in (score, superblock_score) if output is not None]
    heads = batch.config.num_index_heads
    return all(output.stride(1) == heads * output.stride(0) for output in outputs)
