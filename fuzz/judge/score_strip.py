"""The score strip: one row's ranking around the cut, to see which blocks were taken and which were left."""

from collections.abc import Iterator

import torch

from fuzz.inputs.scene import Scene
from fuzz.judge.truth import Truth
from fuzz.report.replayed import ScoreStrip, StripRow
from msa_ref import forced_mask

MAX_AROUND_CUT = 6
"""Ranked blocks that are printed on each side of the cut."""


def ulps_between(left: float, right: float) -> str:
    """The distance of two scores in fp32 numbers; a word where there is none."""
    if left == right:
        return "tie"
    pair = torch.tensor([left, right], dtype=torch.float32)
    if not bool(pair.isfinite().all()):
        return "-"
    bits = pair.view(torch.int32).long()
    ordered = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return str(abs(int(ordered[0] - ordered[1])))


def score_strip(
    scene: Scene, truth: Truth, answer: torch.Tensor, head: int, token: int, num_splits: int, title: str
) -> ScoreStrip:
    """The forced blocks of a row, and the ranked ones around slot K and wherever the answer differs.

    Args:
        answer: [H, T, K] int32, the target's answer.
        num_splits: of the run; the split column assumes an even division, 0 leaves it out.
    """
    row, config = truth.row(answer, head, token), truth.config
    n, req = int(row.num_visible_blocks), int(truth.reqs[token])
    score = row.score[0, 0, :n].masked_fill(row.score[0, 0, :n].isnan(), -torch.inf)
    is_forced = forced_mask(row.num_visible_blocks, n, config)[0]
    expected, taken = truth.expected()[head, token].tolist(), row.topk_idx[0, 0].tolist()
    ranked = [block for block in score.sort(descending=True, stable=True).indices.tolist() if not is_forced[block]]
    num_forced = int(is_forced.sum())
    cut = max(0, min(config.topk_blocks, n) - num_forced)
    table, step = scene.batch.block_table[req], -(-n // num_splits) if num_splits and n else 0

    def block_row(rank: str, block: int, ulps: str) -> StripRow:
        return StripRow(
            kind="block",
            rank=rank,
            block=block,
            page=int(table[block]),
            split=str(block // step) if step else "-",
            score=f"{float(score[block]):.9g}",
            ulps=ulps,
            is_in=block in expected,
            num_taken=taken.count(block),
        )

    def rows() -> Iterator[StripRow]:
        for block in is_forced.nonzero().flatten().tolist():
            yield block_row("forced", block, "-")
        is_skipped = False
        for rank, block in enumerate(ranked):
            before = float(score[ranked[rank - 1]])
            row = block_row(str(rank), block, ulps_between(float(score[block]), before) if rank else "-")
            if abs(rank - cut + 0.5) > MAX_AROUND_CUT and not row.mark:
                is_skipped = True
                continue
            if is_skipped:
                yield StripRow("gap")
                is_skipped = False
            if rank == cut:
                yield StripRow("cut")
            yield row
        if is_skipped:
            yield StripRow("gap")

    heading = (
        f"head {head}, token {token}, request {req}: {n} visible blocks, {num_forced} forced, "
        f"{cut} of {len(ranked)} ranked ones belong in"
    )
    return ScoreStrip(title, heading, tuple(taken), tuple(expected), tuple(rows()))
