"""Exact top-k under one total order; forced blocks bypass it."""

import torch

from msa_ref.config import PAD, IndexerConfig


def forced_mask(num_visible_blocks: torch.Tensor, num_blocks: int, config: IndexerConfig) -> torch.Tensor:
    """The blocks that are selected whatever they score: the first and the last visible ones.

    Args:
        num_visible_blocks: [T] int64.
        num_blocks: N, how many block ids to answer for.

    Returns:
        [T, N] bool.
    """
    block = torch.arange(num_blocks, device=num_visible_blocks.device)
    n = num_visible_blocks[:, None]
    return (block < n) & ((block < config.init_blocks) | (block >= n - config.local_blocks))


def select_blocks(score: torch.Tensor, num_visible_blocks: torch.Tensor, config: IndexerConfig) -> torch.Tensor:
    """Select the best min(K, n) visible blocks of every row.

    The total order: forced blocks first, then score descending, then block id ascending. Forced
    blocks bypass the ranking: no score is high or low enough to change their place.
    -0.0 equals +0.0, NaN counts as -inf, infinities are ordinary values.

    Args:
        score: [H, T, N] floating point. Entries of blocks that a row does not see are ignored.
        num_visible_blocks: [T] int64, n of each query token, at most N.

    Returns:
        [H, T, K] int32, selected block ids ascending, then PAD.
    """
    num_blocks, k = score.shape[-1], config.topk_blocks
    block = torch.arange(num_blocks, device=score.device)
    is_visible = (block < num_visible_blocks[:, None]).expand(score.shape)
    is_forced = forced_mask(num_visible_blocks, num_blocks, config).expand(score.shape)

    # Two stable sorts: by score (equal scores keep their ids ascending; a stable sort tells
    # neither -0.0 from +0.0 nor one infinity from itself), then by class, best class first.
    by_score = score.masked_fill(score.isnan(), -torch.inf).sort(dim=-1, descending=True, stable=True).indices
    rank_class = torch.where(is_forced, 0, torch.where(is_visible, 1, 2)).to(torch.int8)
    by_class = rank_class.gather(-1, by_score).sort(dim=-1, stable=True).indices
    best = by_score.gather(-1, by_class)[..., :k]

    is_selected = is_visible.gather(-1, best)
    ascending = best.masked_fill(~is_selected, num_blocks).sort(dim=-1).values
    ids = ascending.masked_fill(ascending == num_blocks, PAD).int()
    return torch.nn.functional.pad(ids, (0, k - ids.shape[-1]), value=PAD)
