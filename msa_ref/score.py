"""Block scores: every visible key token's dot product, then the maximum over each block."""

from dataclasses import dataclass

import torch

from msa_ref.batch import PagedBatch


@dataclass(frozen=True, eq=False)
class Operands:
    """What the scores of some query tokens of one request are made of, n the blocks the last of them sees.

    queries: [H, tokens, D] float64.
    keys: [n * S, D] float64, gathered through the block table; the unseen tail of the last page included.
    is_seen: [tokens, n * S] bool, which keys each query token sees.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    is_seen: torch.Tensor

    def token_scores(self) -> torch.Tensor:
        """[H, tokens, n * S] float64 dot products; -inf where a key is not seen or the product is NaN."""
        return nan_to_minus_inf(self.queries @ self.keys.T).masked_fill_(~self.is_seen, -torch.inf)


def operands(batch: PagedBatch, req: int, first_token: int, last_token: int) -> Operands:
    """Gather queries and keys of one request for its query tokens first_token .. last_token - 1.

    Only the pages of blocks that the last of these tokens sees are read. Synchronizes.
    """
    config = batch.config
    start, stop = batch.cu_seqlens_q[req : req + 2].tolist()
    tokens = torch.arange(first_token, last_token, device=batch.device)
    context_len = int(batch.seq_lens[req]) - (stop - start)
    visible_lens = (context_len + tokens + 1).clamp(min=0)
    num_blocks = config.num_blocks(max(0, context_len + last_token)) if last_token > first_token else 0

    pages = batch.block_table[req, :num_blocks].long()
    keys = batch.index_k_pages[pages].double().flatten(0, 1)
    queries = batch.index_q[start + first_token : start + last_token].double()
    key_pos = torch.arange(num_blocks * config.block_size, device=batch.device)
    return Operands(queries.transpose(0, 1), keys, key_pos < visible_lens[:, None])


def nan_to_minus_inf(score: torch.Tensor) -> torch.Tensor:
    """The same scores, NaN as -inf, in place."""
    return score.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def block_max(token_scores: torch.Tensor, block_size: int) -> torch.Tensor:
    """[..., n * S] token scores -> [..., n] block scores."""
    return token_scores.unflatten(-1, (-1 if token_scores.shape[-1] else 0, block_size)).amax(-1)


def block_scores(batch: PagedBatch, req: int, first_token: int, last_token: int) -> torch.Tensor:
    """Scores of one request's visible blocks for its query tokens first_token .. last_token - 1.

    A NaN token score counts as -inf, and so does a token that the query does not see.

    Args:
        batch: the batch; bf16, fp16 or fp32.
        req: which request.
        first_token, last_token: a half-open range of query tokens, counted within the request.

    Returns:
        [H, last_token - first_token, n] float64, n the visible blocks of the last of the tokens.
        Products of bf16, fp16 or fp32 values are exact in float64, so only the sum over D rounds.
    """
    return block_max(operands(batch, req, first_token, last_token).token_scores(), batch.config.block_size)
