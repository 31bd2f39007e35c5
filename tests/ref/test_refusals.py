"""A bad argument is refused by one sentence: its name, the rule, what was got."""

import pytest
import torch

from msa_ref import IndexerConfig, PagedBatch
from msa_ref.certified import certify
from msa_ref.contract import judge
from msa_ref.profile import Profile

CONFIGS = {
    "no head": ({"num_index_heads": 0}, "num_index_heads must be an int >= 1; got 0"),
    "half a head": ({"num_index_heads": 0.5}, "num_index_heads must be an int >= 1; got 0.5"),
    "true heads": ({"num_index_heads": True}, "num_index_heads must be an int >= 1; got True"),
    "no dimension": ({"index_head_dim": 0}, "index_head_dim must be an int >= 1; got 0"),
    "empty blocks": ({"block_size": 0}, "block_size must be an int >= 1; got 0"),
    "nothing to select": ({"topk_blocks": 0, "local_blocks": 0}, "topk_blocks must be an int >= 1; got 0"),
    "negative init": ({"init_blocks": -1}, "init_blocks must be an int >= 0; got -1"),
    "negative local": ({"local_blocks": -1}, "local_blocks must be an int >= 0; got -1"),
    "a word": ({"local_blocks": "1"}, "local_blocks must be an int >= 0; got '1'"),
    "more forced than selected": (
        {"topk_blocks": 3, "init_blocks": 2, "local_blocks": 2},
        "topk_blocks must be >= init_blocks + local_blocks = 4; got 3",
    ),
}

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=8, block_size=4, topk_blocks=2)


def good() -> dict:
    """Two requests, 3 + 1 query tokens, 9 and 4 tokens of keys on 4 pages."""
    return {
        "config": CONFIG,
        "index_q": torch.zeros(4, 2, 8, dtype=torch.bfloat16),
        "index_k_pages": torch.zeros(4, 4, 8, dtype=torch.bfloat16),
        "block_table": torch.tensor([[2, 0, 1], [3, -1, -1]], dtype=torch.int32),
        "seq_lens": torch.tensor([9, 4], dtype=torch.int32),
        "cu_seqlens_q": torch.tensor([0, 3, 4], dtype=torch.int32),
    }


def i32(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


BATCHES = {
    "no config": ({"config": {"topk_blocks": 2}}, "config must be an IndexerConfig; got dict"),
    "a list": ({"seq_lens": [9, 4]}, "seq_lens must be a tensor; got list"),
    "nothing": ({"index_q": None}, "index_q must be a tensor; got NoneType"),
    "rank of index_q": (
        {"index_q": torch.zeros(4, 16, dtype=torch.bfloat16)},
        "index_q must be [total_q, num_index_heads, index_head_dim]; got shape [4, 16]",
    ),
    "rank of index_k_pages": (
        {"index_k_pages": torch.zeros(4, 4, 1, 8, dtype=torch.bfloat16)},
        "index_k_pages must be [num_pages, block_size, index_head_dim]; got shape [4, 4, 1, 8]",
    ),
    "rank of block_table": ({"block_table": i32(0, 1)}, "block_table must be [num_reqs, max_blocks]; got shape [2]"),
    "rank of seq_lens": ({"seq_lens": i32(9, 4)[None]}, "seq_lens must be [num_reqs]; got shape [1, 2]"),
    "rank of cu_seqlens_q": ({"cu_seqlens_q": i32(0)[0]}, "cu_seqlens_q must be [num_reqs + 1]; got shape []"),
    "device of index_k_pages": (
        {"index_k_pages": torch.zeros(4, 4, 8, dtype=torch.bfloat16, device="meta")},
        "index_k_pages must be on index_q's device, cpu; got meta",
    ),
    "device of index_q": (
        {"index_q": torch.zeros(4, 2, 8, dtype=torch.bfloat16, device="meta")},
        "index_k_pages must be on index_q's device, meta; got cpu",
    ),
    "device of block_table": (
        {"block_table": torch.zeros(2, 3, dtype=torch.int32, device="meta")},
        "block_table must be on index_q's device, cpu; got meta",
    ),
    "device of seq_lens": (
        {"seq_lens": torch.zeros(2, dtype=torch.int32, device="meta")},
        "seq_lens must be on index_q's device, cpu; got meta",
    ),
    "dtype of block_table": (
        {"block_table": torch.zeros(2, 3, dtype=torch.int64)},
        "block_table must be int32; got torch.int64",
    ),
    "dtype of seq_lens": ({"seq_lens": torch.zeros(2)}, "seq_lens must be int32; got torch.float32"),
    "dtype of cu_seqlens_q": (
        {"cu_seqlens_q": torch.tensor([0, 3, 4])},
        "cu_seqlens_q must be int32; got torch.int64",
    ),
    "dtype of index_q": (
        {"index_q": torch.zeros(4, 2, 8, dtype=torch.float64)},
        "index_q must be bf16, fp16, fp32 or e4m3; got torch.float64",
    ),
    "mixed dtypes": (
        {"index_k_pages": torch.zeros(4, 4, 8, dtype=torch.float16)},
        "index_k_pages must be bf16 or e4m3 for bf16 queries; got torch.float16",
    ),
    "head count": (
        {"index_q": torch.zeros(4, 3, 8, dtype=torch.bfloat16)},
        "index_q must have num_index_heads = 2 on axis 1; got 3",
    ),
    "query dimension": (
        {"index_q": torch.zeros(4, 2, 16, dtype=torch.bfloat16)},
        "index_q must have index_head_dim = 8 on axis 2; got 16",
    ),
    "page size": (
        {"index_k_pages": torch.zeros(4, 16, 8, dtype=torch.bfloat16)},
        "index_k_pages must have block_size = 4 on axis 1; got 16",
    ),
    "key dimension": (
        {"index_k_pages": torch.zeros(4, 4, 4, dtype=torch.bfloat16)},
        "index_k_pages must have index_head_dim = 8 on axis 2; got 4",
    ),
    "rows of block_table": (
        {"block_table": torch.zeros(3, 3, dtype=torch.int32)},
        "block_table must have num_reqs = 2 on axis 0; got 3",
    ),
    "entries of cu_seqlens_q": (
        {"cu_seqlens_q": i32(0, 4)},
        "cu_seqlens_q must have num_reqs + 1 = 3 on axis 0; got 2",
    ),
}

VALUES = {
    "start": ({"cu_seqlens_q": i32(1, 3, 4)}, "cu_seqlens_q must start at 0; got 1"),
    "falling": ({"cu_seqlens_q": i32(0, 5, 4)}, "cu_seqlens_q must never fall; got a step of -1 at request 1"),
    "too few tokens": ({"cu_seqlens_q": i32(0, 2, 3)}, "cu_seqlens_q must end at total_q = 4; got 3"),
    "too many tokens": ({"cu_seqlens_q": i32(0, 3, 9)}, "cu_seqlens_q must end at total_q = 4; got 9"),
    "negative length": ({"seq_lens": i32(9, -1)}, "seq_lens must be >= 0; got -1 at request 1"),
    "narrow block_table": (
        {"seq_lens": i32(9, 13)},
        "block_table must have a column for each of the 4 blocks of request 1; got max_blocks = 3",
    ),
    "no page": (
        {"seq_lens": i32(9, 5)},
        "block_table must hold page ids below num_pages = 4; got -1 at request 1, block 1",
    ),
    "page beyond the cache": (
        {"block_table": torch.tensor([[2, 4, 1], [3, -1, -1]], dtype=torch.int32)},
        "block_table must hold page ids below num_pages = 4; got 4 at request 0, block 1",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_breaks_a_rule_is_refused(change, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011, the whole sentence is compared
        IndexerConfig(**change)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(("change", "sentence"), BATCHES.values(), ids=BATCHES)
def test_a_batch_whose_tensors_do_not_fit_is_refused(change, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        PagedBatch(**(good() | change))
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(("change", "sentence"), VALUES.values(), ids=VALUES)
def test_validate_refuses_values_that_contradict_each_other(change, sentence):
    batch = PagedBatch(**(good() | change))  # values on the device are not looked at here
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        batch.validate()
    assert str(refusal.value) == sentence


def test_a_good_batch_is_accepted_and_returned():
    batch = PagedBatch(**good())
    assert batch.validate() is batch


def test_any_stride_is_accepted():
    batch = good()
    batch["index_q"] = torch.zeros(4, 8, 2, dtype=torch.bfloat16).transpose(1, 2)
    batch["index_k_pages"] = torch.zeros(8, 4, 16, dtype=torch.bfloat16)[::2, :, 8:]
    batch["block_table"] = torch.tensor([[2, 0, 1, 9], [3, 9, 9, 9]], dtype=torch.int32)[:, :3]
    PagedBatch(**batch).validate()


def test_a_batch_on_the_meta_device_is_checked_without_values():
    tensors = {name: v.to("meta") if isinstance(v, torch.Tensor) else v for name, v in good().items()}
    assert PagedBatch(**tensors).num_reqs == 2


def test_a_profile_of_unknown_promises_is_refused():
    with pytest.raises(ValueError, match=r"^tie_rule must be one of lowest-id, any; got 'highest-id'$"):
        Profile(tie_rule="highest-id")  # type: ignore[arg-type]


ANSWERS = {
    "shape": (torch.zeros(2, 4, 3, dtype=torch.int32), "topk_idx must be [H, T, K] = [2, 4, 2]; got [2, 4, 3]"),
    "dtype": (torch.zeros(2, 4, 2, dtype=torch.int64), "topk_idx must be int32; got torch.int64"),
    "device": (torch.zeros(2, 4, 2, dtype=torch.int32, device="meta"), "topk_idx must be on cpu; got meta"),
}


@pytest.mark.parametrize(("topk_idx", "sentence"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("oracle", [judge, certify], ids=["judge", "certify"])
def test_an_answer_that_cannot_be_judged_is_refused(oracle, topk_idx, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        any(oracle(PagedBatch(**good()), topk_idx))
    assert str(refusal.value) == sentence
