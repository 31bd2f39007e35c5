"""The key behind each query token is its best one: what sees it cannot miss it."""

import numpy as np
import pytest
import torch

from fuzz.cases.case import ValuePlan
from fuzz.inputs.future_keys import plant_future
from fuzz.values.families import FAMILIES, require_exact
from fuzz.values.family import Designed, Lattice
from fuzz.values.rng import Stream
from fuzz.values.shape import Shape

MADE_WHOLE = [family for family in FAMILIES.values() if not family.is_on_device]
PLANS = [ValuePlan(family.name, is_future_best=True) for family in MADE_WHOLE]
PLANS += [ValuePlan(f.name, is_negative=True, is_future_best=True) for f in MADE_WHOLE if isinstance(f, Lattice)]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.family + "-negative" * plan.is_negative)
@pytest.mark.parametrize("seq_len", [70, 64, 5, 2])
def test_the_key_behind_a_token_is_its_best(plan: ValuePlan, seq_len: int) -> None:
    query_len, heads, stream = 6, 3, Stream(5, plan.family)
    is_designed = isinstance(plan.made_by, Designed)
    shape = Shape(num_blocks=5, block_size=16, index_head_dim=32, topk_blocks=3, formats="bfloat16")
    keys = plan.made_by.keys(stream, shape, plan.is_negative)
    queries = plan.made_by.queries(stream, query_len, heads, shape, plan.is_negative)
    before = keys.copy()
    plant_future(stream, keys, queries, seq_len, plan, shape, np.arange(5))
    changed = np.flatnonzero((keys != before).reshape(-1, 32).any(axis=1))
    assert set(changed) <= set(range(max(1, seq_len - query_len + 1), seq_len))
    if plan.made_by.sums_are_exact:
        require_exact(torch.from_numpy(queries), torch.from_numpy(keys), plan.family)
    score = np.einsum("thd,nd->thn", queries, keys.reshape(-1, 32))
    for token in range(query_len - 1):
        behind = seq_len - query_len + token + 1
        if behind <= 0:
            continue  # sees nothing, whatever comes
        seen = before.reshape(-1, 32)[:behind] if is_designed else keys.reshape(-1, 32)[:behind]
        best = np.einsum("hd,nd->hn", queries[token], seen).max(axis=1)
        is_best = score[token, :, behind] >= best
        assert is_best.all() if is_designed else is_best.any()
        # Above, where there is such a number: a tie goes to the lower block.
        if is_designed and plan.family != "extremes":
            assert (score[token, :, behind] > best).all()


def test_hashed_values_have_no_best_key() -> None:
    with pytest.raises(ValueError, match="is_future_best must not be of hashed values"):
        ValuePlan("hashed", is_future_best=True)
