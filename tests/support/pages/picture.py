"""The picture of the README: one row of blocks, its scores, the cut, and the answer."""

import torch

from msa_ref import IndexerConfig, block_scores, index_topk
from msa_ref.select import forced_mask
from tests.support.ref_batches import row_batch

SCORES = (5.0, 1.0, 7.0, 5.0, 0.0)
"""Block scores of the row that the laws in msa_ref/rows.py are explained on."""
WIDTH = 7
"""Characters of one block."""


def row_picture() -> str:
    """One row of blocks, drawn from what the reference answers."""
    config = IndexerConfig(num_index_heads=1, index_head_dim=1, block_size=1, topk_blocks=3, local_blocks=1)
    batch = row_batch(config, [[1.0]], [[score] for score in SCORES])
    score = block_scores(batch, slice(0, 1))[0, 0]
    answer = index_topk(batch)[0, 0].tolist()
    is_forced = forced_mask(torch.tensor([len(SCORES)]), len(SCORES), config)[0]
    ranked = [block for block in score.sort(descending=True, stable=True).indices.tolist() if not is_forced[block]]
    num_ranked = config.topk_blocks - int(is_forced.sum())
    blocks = range(len(SCORES))
    ranks = ["forced" if is_forced[block] else str(ranked.index(block) + 1) for block in blocks]
    last_in, first_out = ranked[num_ranked - 1], ranked[num_ranked]
    assert score[last_in] == score[first_out], "the picture shows a tie at the cut"
    edge = "─" * WIDTH
    lines = [
        f"block   {_cells(map(str, blocks))}",
        f"        ┌{'┬'.join([edge] * len(blocks))}┐",
        f"score   │{'│'.join(f'{value:^{WIDTH}g}' for value in score.tolist())}│ best dot product of query and key",
        f"        └{'┴'.join([edge] * len(blocks))}┘",
        f"rank    {_cells(ranks)}  the newest is forced, whatever it scores",
        f"chosen  {_cells('■' if block in answer else '' for block in blocks)}  {config.topk_blocks} slots less "
        f"{config.topk_blocks - num_ranked} forced: the cut is after rank {num_ranked}",
        f"        blocks {last_in} and {first_out} are a tie, and the lower id wins:  topk_idx = {answer}",
    ]
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])


def _cells(words) -> str:
    return "".join(f" {word:^{WIDTH}}" for word in words)
