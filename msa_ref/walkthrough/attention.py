"""Attention that reads the selected blocks and nothing else: the purpose of the selection.

For teaching, and so written for one request on contiguous keys, one query token and one head at a
time. The indexer has one head for each GQA group: the G query heads of group h share key head h,
value head h and row h of `topk_idx`.
"""

from collections.abc import Callable

import torch

from msa_ref.config import PAD


def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """softmax(query keys^T scale) values for one query head over the tokens given.

    Args:
        query: [D]. keys: [tokens, D]. values: [tokens, Dv].

    Returns:
        [Dv]; zeros where there is no token.
    """
    if len(keys) == 0:
        return values.new_zeros(values.shape[-1])
    weight = torch.softmax(keys @ query * scale, dim=0)
    return weight @ values


def dense_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention: query token i, among the last T of L tokens, reads tokens 0 .. L - T + i.

    Args:
        query: [T, H, G, D], T query tokens, H groups of G query heads.
        key: [L, H, D], L >= T. value: [L, H, Dv].

    Returns:
        [T, H, G, Dv].
    """
    every_token = torch.arange(len(key), device=key.device)
    return _attention(query, key, value, scale, lambda head, token: every_token)


def block_sparse_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, topk_idx: torch.Tensor, block_size: int
) -> torch.Tensor:
    """The same attention over the tokens of the selected blocks: topk_blocks * block_size of them, not L.

    Equal to `dense_attention` bit for bit where every visible block is selected, ids ascending.

    Args:
        query, key, value, scale: as in `dense_attention`.
        topk_idx: [H, T, K] int32, block ids, then PAD. The last block may be selected in part:
            tokens that the query does not see are left out.

    Returns:
        [T, H, G, Dv].
    """
    offset_in_block = torch.arange(block_size, device=key.device)

    def selected_tokens(head: int, token: int) -> torch.Tensor:
        blocks = topk_idx[head, token].long()
        blocks = blocks[blocks != PAD]
        return (blocks[:, None] * block_size + offset_in_block).flatten()

    return _attention(query, key, value, scale, selected_tokens)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    tokens_for: Callable[[int, int], torch.Tensor],
) -> torch.Tensor:
    """Attention over the tokens that tokens_for(head, token) lists, as far as the query sees them."""
    context_len = len(key) - len(query)
    output = query.new_zeros(*query.shape[:-1], value.shape[-1])
    for token, heads in enumerate(query):
        for head, group in enumerate(heads):
            pos = tokens_for(head, token)
            pos = pos[pos <= context_len + token]
            for member, one_query in enumerate(group):
                output[token, head, member] = attend(one_query, key[pos, head], value[pos, head], scale)
    return output
