"""The operator once more, in plain Python: loops, lists and one `sorted`, nothing shared with msa_ref.

Slow on purpose. It exists so that two independent readings of the contract can be compared.
"""

import math
from collections.abc import Sequence

from tests.support.byte_values import numbers_of

PAD = -1


def token_score(query: Sequence[float], key: Sequence[float]) -> float:
    """Dot product in Python floats; NaN counts as -inf."""
    score = 0.0
    for q, k in zip(query, key, strict=True):
        score += q * k
    return -math.inf if math.isnan(score) else score


def forced_blocks(n: int, init_blocks: int, local_blocks: int) -> set[int]:
    """Ids of the first `init_blocks` and the last `local_blocks` of n visible blocks."""
    forced = set()
    for block in range(n):
        if block < init_blocks or block >= n - local_blocks:
            forced.add(block)
    return forced


def select(scores: Sequence[float], topk_blocks: int, init_blocks: int, local_blocks: int) -> list[int]:
    """One row: the selected ids of its len(scores) visible blocks, ascending."""
    n = len(scores)
    forced = forced_blocks(n, init_blocks, local_blocks)
    ranked = sorted((block for block in range(n) if block not in forced), key=lambda block: (-scores[block], block))
    free_slots = min(topk_blocks, n) - len(forced)
    return sorted(forced | set(ranked[:free_slots]))


def row_scores(query: Sequence[float], keys: Sequence[Sequence[float]], block_size: int) -> list[float]:
    """Block scores of one row over its visible keys, oldest first."""
    scores = []
    for first in range(0, len(keys), block_size):
        scores.append(max(token_score(query, key) for key in keys[first : first + block_size]))
    return scores


def index_topk(batch) -> list[list[list[int]]]:
    """[H][T][K] nested lists for a PagedBatch, read only through `tolist`."""
    config = batch.config
    index_q, pages = numbers_of(batch.index_q), numbers_of(batch.index_k_pages)
    block_table, seq_lens, cu = batch.block_table.tolist(), batch.seq_lens.tolist(), batch.cu_seqlens_q.tolist()
    answer = [[[PAD] * config.topk_blocks for _ in index_q] for _ in range(config.num_index_heads)]
    for req, seq_len in enumerate(seq_lens):
        query_len = cu[req + 1] - cu[req]
        for i in range(query_len):
            visible_len = max(0, seq_len - query_len + i + 1)
            keys = []
            for pos in range(visible_len):
                page = block_table[req][pos // config.block_size]
                keys.append(pages[page][pos % config.block_size])
            for head in range(config.num_index_heads):
                scores = row_scores(index_q[cu[req] + i][head], keys, config.block_size)
                ids = select(scores, config.topk_blocks, config.init_blocks, config.local_blocks)
                answer[head][cu[req] + i][: len(ids)] = ids
    return answer
