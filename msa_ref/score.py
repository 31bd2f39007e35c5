"""Block scores: every visible key token's dot product, then the maximum over each block."""

from dataclasses import dataclass

import torch

from msa_ref.batch import PagedBatch


@dataclass(frozen=True, eq=False)
class Operands:
    """The queries and keys behind the scores of some query tokens, request by request.

    R requests own the tokens, each at most Q of them, and these see at most n blocks. A request with
    fewer tokens or blocks is padded, and nothing sees the padding.

    queries: [R, Q, H, D] float64.
    keys: [R, n, S, D] float64, gathered through the block table; the unseen tail of a last page included.
    is_token: [R, Q] bool, which query tokens are no padding.
    is_seen: [R, Q, n, S] bool, which keys each query token sees.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    is_token: torch.Tensor
    is_seen: torch.Tensor

    def token_scores(self) -> torch.Tensor:
        """[H, R, Q, n, S] float64 dot products; -inf where a key is not seen or the product is NaN."""
        return nan_to_minus_inf(dot_products(self.queries, self.keys)).masked_fill_(~self.is_seen, -torch.inf)

    def block_max(self, token_scores: torch.Tensor) -> torch.Tensor:
        """[H, R, Q, n, S] token scores -> [H, tokens, n] block scores, the padding of queries left out."""
        return token_scores.amax(-1)[:, self.is_token]


def operands(batch: PagedBatch, rows: slice) -> Operands:
    """Gather queries and keys for the query tokens `rows` of total_q.

    Only the pages of blocks that these tokens see are read, and page 0 for padding. Synchronizes.
    """
    config = batch.config
    reqs, num_tokens = torch.unique_consecutive(batch.token_reqs(rows), return_counts=True)
    is_token = torch.arange(max(num_tokens.tolist(), default=0), device=batch.device) < num_tokens[:, None]

    def by_request(values: torch.Tensor) -> torch.Tensor:
        """[tokens, ...] -> [R, Q, ...], zeros as padding."""
        return values.new_zeros(*is_token.shape, *values.shape[1:]).index_put_((is_token,), values)

    visible_lens = batch.visible_lens(rows)
    num_blocks = config.num_blocks(max(visible_lens.tolist(), default=0))
    key_pos = torch.arange(num_blocks * config.block_size, device=batch.device).view(-1, config.block_size)
    is_seen = key_pos < by_request(visible_lens)[..., None, None]
    is_live = is_seen[..., 0].any(1)
    pages = batch.block_table[reqs, :num_blocks].long().where(is_live, 0)
    queries = batch.query_format.values(batch.index_q[rows]).double()
    keys = batch.key_format.values(batch.index_k_pages[pages]).double()
    return Operands(by_request(queries), keys, is_token, is_seen)


def dot_products(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """[R, Q, H, D] queries, [R, n, S, D] keys -> [H, R, Q, n, S], every query of a request with all its keys."""
    return torch.einsum("rqhd,rnsd->hrqns", queries, keys)


def nan_to_minus_inf(score: torch.Tensor) -> torch.Tensor:
    """The same scores, NaN as -inf, in place."""
    return score.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def block_scores(batch: PagedBatch, rows: slice) -> torch.Tensor:
    """Scores of the blocks that some query tokens see.

    A NaN token score counts as -inf, and so does a token that the query does not see.

    Args:
        batch: the batch, in any formats.
        rows: which rows of total_q, of however many requests.

    Returns:
        [H, rows, n] float64, where n is the greatest number of blocks that one of the rows sees; -inf for
        those that a row does not see. Products of values of any format are exact in float64, so only the sum over
        D rounds.
    """
    parts = operands(batch, rows)
    return parts.block_max(parts.token_scores())
