"""The score strip: one row's ranking around the cut, to see what was taken and what was left."""

import torch

from fuzz.inputs.scene import Scene
from fuzz.judge.truth import Truth
from msa_ref import forced_mask


def ulps_between(left: float, right: float) -> str:
    """How many fp32 numbers apart two scores are; a word where that means nothing."""
    if left == right:
        return "tie"
    pair = torch.tensor([left, right], dtype=torch.float32)
    if not bool(pair.isfinite().all()):
        return "-"
    bits = pair.view(torch.int32).long()
    ordered = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return str(abs(int(ordered[0] - ordered[1])))


def score_strip(
    scene: Scene, truth: Truth, answer: torch.Tensor, head: int, token: int, num_splits: int, around: int = 6
) -> list[str]:
    """Lines of a table: the forced blocks, and the ranked ones around slot K and wherever the answer differs.

    Args:
        answer: [H, T, K] int32, what the target answered.
        num_splits: of the run; the split column is of an even division, 0 leaves it out.
        around: ranked blocks to show on each side of the cut.
    """
    row, config = truth.row(answer, head, token), truth.config
    n, req = int(row.num_visible_blocks), int(truth.reqs[token])
    score = row.score[0, 0, :n].masked_fill(row.score[0, 0, :n].isnan(), -torch.inf)
    is_forced = forced_mask(row.num_visible_blocks, n, config)[0]
    right, taken = set(truth.expected[head, token].tolist()), row.topk_idx[0, 0].tolist()
    ranked = [block for block in score.sort(descending=True, stable=True).indices.tolist() if not is_forced[block]]
    cut = max(0, min(config.topk_blocks, n) - int(is_forced.sum()))
    lines = [
        f"head {head}, token {token}, request {req}: {n} visible blocks, {int(is_forced.sum())} forced, "
        f"{cut} of {len(ranked)} ranked ones belong in",
        f"answered {taken}",
        f"expected {truth.expected[head, token].tolist()}",
        f"{'rank':>6} {'block':>7} {'page':>7} {'split':>6} {'score':>16} {'ulps':>10}  in  taken",
    ]
    table, step = scene.batch.block_table[req], -(-n // num_splits) if num_splits and n else 0

    def line(rank: str, block: int, ulps: str) -> str:
        split = str(block // step) if step else "-"
        is_in, is_taken = block in right, taken.count(block)
        remark = "" if is_in == bool(is_taken) else "  <-- wrongly taken" if is_taken else "  <-- wrongly left"
        remark = f"  <-- taken {is_taken} times" if is_taken > 1 else remark
        value = float(score[block])
        return (
            f"{rank:>6} {block:>7} {int(table[block]):>7} {split:>6} {value:>16.9g} {ulps:>10}"
            f"  {'yes' if is_in else 'no ':>3} {'yes' if is_taken else 'no ':>5}{remark}"
        )

    for block in is_forced.nonzero().flatten().tolist():
        lines.append(line("forced", block, "-"))
    skipped = False
    for rank, block in enumerate(ranked):
        is_wrong = (block in right) != (block in taken) or taken.count(block) > 1
        if abs(rank - cut + 0.5) > around and not is_wrong:
            skipped = True
            continue
        if skipped:
            lines.append(f"{'...':>6}")
            skipped = False
        if rank == cut:
            lines.append(f"{'------':>6} the cut")
        lines.append(
            line(str(rank), block, ulps_between(float(score[block]), float(score[ranked[rank - 1]])) if rank else "-")
        )
    return [*lines, f"{'...':>6}"] if skipped else lines
