"""The key behind each query token is its best one: what sees it cannot miss it."""

import numpy as np
import pytest
import torch

from fuzz.cases.case import ValuePlan
from fuzz.inputs.future_keys import plant_future
from fuzz.values.designed import DESIGNED, FAMILIES, LATTICE, ROUNDED, Shape, make_keys, make_queries, require_exact
from fuzz.values.rng import Bits

PLANS = [ValuePlan(family, is_future_best=True) for family in (*FAMILIES, *ROUNDED) if family != "hashed"]
PLANS += [ValuePlan(f, is_negative=True, is_future_best=True) for f in LATTICE if f != "hashed"]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.family + "-negative" * plan.is_negative)
@pytest.mark.parametrize("seq_len", [70, 64, 5, 2])
def test_no_key_that_a_token_sees_is_better_than_the_one_behind_it(plan: ValuePlan, seq_len: int) -> None:
    query_len, heads, bits = 6, 3, Bits(5, plan.family)
    shape = Shape(num_blocks=5, block_size=16, index_head_dim=32, topk_blocks=3, dtype="bfloat16")
    keys = make_keys(plan.family, bits, shape, plan.is_negative)
    queries = make_queries(plan.family, bits, query_len, heads, shape, plan.is_negative)
    before = keys.copy()
    plant_future(bits, keys, queries, seq_len, plan, shape)
    changed = np.flatnonzero((keys != before).reshape(-1, 32).any(axis=1))
    assert set(changed) <= set(range(max(1, seq_len - query_len + 1), seq_len))
    if plan.family not in ROUNDED:
        require_exact(torch.from_numpy(queries), torch.from_numpy(keys), plan.family)
    score = np.einsum("thd,nd->thn", queries, keys.reshape(-1, 32))
    for token in range(query_len - 1):
        behind = seq_len - query_len + token + 1
        if behind <= 0:
            continue  # sees nothing, whatever comes
        seen = before.reshape(-1, 32)[:behind] if plan.family in DESIGNED else keys.reshape(-1, 32)[:behind]
        best = np.einsum("hd,nd->hn", queries[token], seen).max(axis=1)
        is_best = score[token, :, behind] >= best
        assert is_best.all() if plan.family in DESIGNED else is_best.any()
        # Above, where there is such a number: a tie goes to the lower block.
        if plan.family in DESIGNED and plan.family != "extremes":
            assert (score[token, :, behind] > best).all()


def test_hashed_values_are_made_on_the_device_and_have_no_best_key() -> None:
    with pytest.raises(ValueError, match="is_future_best must not be of hashed values; got hashed"):
        ValuePlan("hashed", is_future_best=True)
