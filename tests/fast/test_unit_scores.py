"""Every scorer that serves MiniMax-M3's shape gives the scores that its matrix unit's bit model predicts."""

import pytest
import torch

from fuzz.twin.matrix import UNITS_OF
from msa_fast.ops.launch_table import architecture_of
from tests.support.unit_scores import PAIRS, Stage, batch_of, kernel_scores, num_unlike, summed_by

pytestmark = pytest.mark.gpu

LENGTHS: dict[Stage, tuple[list[int], list[int]]] = {
    "prefill": ([2048], [128 * 144 - 40]),
    "decode": ([8] * 8, [128 * 4096 - 40 * req for req in range(8)]),
}
"""Lengths of about a million scores."""


@pytest.mark.parametrize("stage", LENGTHS)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_million_scores_are_the_matrix_units_to_the_bit(stage: Stage, pair: str) -> None:
    architecture = architecture_of(torch.device("cuda", torch.cuda.current_device()))
    if architecture not in UNITS_OF:
        pytest.skip(f"no bit model is claimed for {architecture}")
    lens = LENGTHS[stage]
    batch = batch_of(pair, *lens, "cuda")
    score = kernel_scores(batch, stage, *lens)
    unlike, num_scores = num_unlike(score, batch, *summed_by(batch, stage, *lens))
    assert num_scores > 1_000_000
    assert unlike == 0
