"""Block scores: every visible key token's dot product, then the maximum over each block."""

import torch

from msa_ref.batch import PagedBatch


def block_scores(batch: PagedBatch, req: int, first_token: int, last_token: int) -> torch.Tensor:
    """Scores of one request's visible blocks for its query tokens first_token .. last_token - 1.

    Only the pages of blocks that the last of these tokens sees are read. A NaN token score counts
    as -inf, and so does a token that the query does not see.

    Args:
        batch: the batch; bf16, fp16 or fp32.
        req: which request.
        first_token, last_token: a half-open range of query tokens, counted within the request.

    Returns:
        [H, last_token - first_token, n] float64, n the visible blocks of the last of the tokens.
        Products of bf16 or fp16 values are exact in float64, so only the sum over D rounds.
    """
    config = batch.config
    start, stop = batch.cu_seqlens_q[req : req + 2].tolist()
    tokens = torch.arange(first_token, last_token, device=batch.device)
    visible_lens = (int(batch.seq_lens[req]) - (stop - start) + tokens + 1).clamp(min=0)
    num_blocks = config.num_blocks(int(visible_lens[-1]) if len(tokens) else 0)

    pages = batch.block_table[req, :num_blocks].long()
    keys = batch.index_k_pages[pages].double().flatten(0, 1)  # [n * S, D]
    queries = batch.index_q[start + first_token : start + last_token].double()  # [tokens, H, D]
    token_scores = queries.transpose(0, 1) @ keys.T  # [H, tokens, n * S]

    key_pos = torch.arange(num_blocks * config.block_size, device=batch.device)
    is_seen = key_pos < visible_lens[:, None]  # [tokens, n * S]
    is_counted = is_seen & ~token_scores.isnan()
    token_scores.masked_fill_(~is_counted, -torch.inf)
    return token_scores.unflatten(-1, (num_blocks, config.block_size)).amax(-1)
