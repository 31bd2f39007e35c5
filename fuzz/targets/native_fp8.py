"""The kernels with products in e4m3, as targets: `--target fuzz.targets.native_fp8:decode` and `:prefill`.

Judged on the interval of Hopper's unit: on a GPU that has a unit for e4m3, on the twin, and on the interpreter,
which sums as Hopper does. No gate runs them by itself: nobody gets such products without asking for them.
"""

import importlib

import torch

from fuzz.targets.call import Call
from fuzz.targets.limits import check_decode, check_prefill
from fuzz.targets.target import Target
from msa_ref.profile import Profile

PROFILE = Profile(
    "native fp8 products", dtypes=(torch.float8_e4m3fn,), unit="hopper_fp8", index_head_dims=(32, 64, 128)
)
"""The contract for e4m3, but for the unit that sums; Blackwell's is inside of its bound."""


def _decode(call: Call) -> torch.Tensor:
    kernels = importlib.import_module("msa_fast")
    topk_idx: torch.Tensor
    topk_idx, score = kernels.minimax_m3_index_decode_with_score(
        call.batch, call.decode_query_len, num_splits=call.num_splits, out=call.out, product="fp8"
    )
    call.show(score, is_lazy=True)
    return topk_idx


def _prefill(call: Call) -> torch.Tensor:
    kernels, batch = importlib.import_module("msa_fast"), call.batch
    plan = kernels.PrefillPlan.build(
        batch.config, call.query_lens, call.seq_len_bounds, batch.device, num_splits=call.num_splits
    )
    topk_idx: torch.Tensor = kernels.minimax_m3_index_prefill(batch, plan, out=call.out, product="fp8")
    return topk_idx


decode = Target(
    "decode-fp8",
    "Decode with products in e4m3, scores judged.",
    "decode",
    _decode,
    has_splits=True,
    profile=PROFILE,
    check=check_decode,
)
prefill = Target(
    "prefill-fp8",
    "Prefill with products in e4m3.",
    "prefill",
    _prefill,
    has_splits=True,
    profile=PROFILE,
    check=check_prefill,
)
