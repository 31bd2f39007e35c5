"""A builder splits an engine's step: a rebased prefill side, a decode side that stays where it is."""

import pytest
import torch

from msa_fast.attention_metadata import CommonAttentionMetadata, split_decodes_and_prefills
from msa_fast.indexer_msa import MiniMaxM3IndexerMSAMetadata, MiniMaxM3IndexerMSAMetadataBuilder
from msa_ref import IndexerConfig

CONFIG = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
MAX_REQS, MAX_LEN = 5, 160


def builder(device: str, drafts: int = 0) -> MiniMaxM3IndexerMSAMetadataBuilder:
    return MiniMaxM3IndexerMSAMetadataBuilder(
        CONFIG, device, max_num_reqs=MAX_REQS, max_model_len=MAX_LEN, num_speculative_tokens=drafts
    )


def common(device: str, query_lens: list[int], seq_lens: list[int], width: int = 10) -> CommonAttentionMetadata:
    """Page of block b of request r: 100 r + b."""
    req, block = torch.arange(len(seq_lens), device=device), torch.arange(width, device=device)
    return CommonAttentionMetadata.from_lens(query_lens, seq_lens, (100 * req[:, None] + block).int())


@pytest.mark.parametrize(
    ("query_lens", "threshold", "decode_query_len", "num_decodes", "num_prefills", "num_prefill_tokens"),
    [
        ([], 1, 0, 0, 0, 0),
        ([0, 0], 1, 0, 0, 0, 0),
        ([1, 1, 1], 1, 1, 3, 0, 0),
        ([1, 1, 0, 0], 1, 1, 2, 0, 0),
        ([1, 1, 7, 2], 1, 1, 2, 2, 9),
        ([1, 7, 0, 0], 1, 1, 1, 1, 7),
        ([2, 2], 1, 0, 0, 2, 4),
        ([4, 4, 4], 4, 4, 3, 0, 0),
        ([4, 4, 2, 9], 4, 4, 2, 2, 11),
        ([2, 2, 4], 4, 2, 2, 1, 4),
        ([5, 1, 1], 4, 0, 0, 3, 7),
        ([0, 1], 1, 0, 0, 2, 1),
    ],
)
def test_leading_requests_of_one_short_length_are_the_decodes(
    query_lens, threshold, decode_query_len, num_decodes, num_prefills, num_prefill_tokens
) -> None:
    split = split_decodes_and_prefills(query_lens, threshold)
    assert (split.decode_query_len, split.num_decodes) == (decode_query_len, num_decodes)
    assert (split.num_prefills, split.num_prefill_tokens) == (num_prefills, num_prefill_tokens)
    assert split.num_decode_tokens == num_decodes * decode_query_len


def test_drafts_raise_the_reorder_threshold() -> None:
    assert builder("cpu").reorder_batch_threshold == 1
    assert builder("cpu", drafts=3).reorder_batch_threshold == 4


def test_the_prefill_side_is_rebased(device: str) -> None:
    metadata = builder(device).build(0, common(device, [1, 1, 20, 7], [90, 33, 50, 7]))
    prefill = metadata.prefill_msa
    assert prefill is not None
    assert metadata.prefill is None
    assert prefill.cu_seqlens_q.tolist() == [0, 20, 27]
    assert prefill.seq_lens.tolist() == [50, 7]
    assert prefill.context_lens.tolist() == [30, 0]
    assert (prefill.max_query_len, prefill.max_seq_len) == (20, 50)
    assert prefill.block_table.tolist() == [[200, 201, 202, 203], [300, 301, 302, 303]]
    assert (prefill.plan.num_reqs, prefill.plan.total_q) == (2, 27)


def test_the_decode_side_is_uniform_and_padded_with_empty_requests(device: str) -> None:
    made = builder(device, drafts=1)
    metadata = made.build(0, common(device, [2, 2, 0], [90, 33, 64]))
    decode = metadata.decode
    assert decode is not None
    assert (metadata.num_decodes, metadata.num_decode_tokens, metadata.num_prefills) == (2, 4, 0)
    assert decode.decode_query_len == 2
    assert decode.cu_seqlens_q.tolist() == [0, 2, 4]
    assert decode.seq_lens.tolist() == [90, 33]
    assert decode.block_table[:, :6].tolist() == [[0, 1, 2, 3, 4, 5], [100, 101, 102, 103, 104, 105]]
    captured = made.build_for_cudagraph_capture(made.longest_decode_batch(MAX_REQS)).decode
    made.build(0, common(device, [2, 2, 0], [90, 33, 64]))
    assert captured is not None
    assert captured.seq_lens.tolist() == [90, 33, 0, 0, 0]
    assert captured.cu_seqlens_q.tolist() == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("later", [[1, 1, 1], [1], [1, 9], [30], []], ids=str)
def test_decode_addresses_never_move(later: list[int], device: str) -> None:
    made = builder(device)
    captured = made.build_for_cudagraph_capture(made.longest_decode_batch(MAX_REQS)).decode
    assert captured is not None
    views = [captured.seq_lens, captured.block_table, captured.cu_seqlens_q]
    before = [(view.data_ptr(), view.stride()) for view in views]
    decode = made.build(0, common(device, later, [50] * len(later))).decode
    num_decodes = 0 if decode is None else len(decode.seq_lens)
    assert num_decodes == sum(query_len == 1 for query_len in later)
    if decode is not None:
        now = [decode.seq_lens, decode.block_table, decode.cu_seqlens_q]
        assert [(view.data_ptr(), view.stride()) for view in now] == before
    assert captured.seq_lens.tolist() == [50] * num_decodes + [0] * (MAX_REQS - num_decodes)


def test_what_the_engine_counted_is_passed_on(device: str) -> None:
    step = common(device, [1, 9], [50, 40])
    metadata = builder(device).build(0, step)
    assert isinstance(metadata, MiniMaxM3IndexerMSAMetadata)
    assert metadata.num_actual_tokens == 10
    assert metadata.slot_mapping is step.slot_mapping


@pytest.mark.parametrize(
    ("query_lens", "seq_lens", "width", "sentence"),
    [
        ([1] * 6, [9] * 6, 10, "num_reqs must be <= 5; got 6"),
        ([1], [161], 20, "max_seq_len must be <= 160; got 161"),
        ([1], [160], 9, "block_table_tensor must have >= 10 columns for max_seq_len; got 9"),
    ],
)
def test_a_step_beyond_the_buffers_is_refused(query_lens, seq_lens, width, sentence, device: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        builder(device).build(0, common(device, query_lens, seq_lens, width))


@pytest.mark.parametrize(("query_lens"), [[1, 9], [9], [1, 1, 0], []], ids=str)
def test_only_uniform_decodes_are_captured(query_lens: list[int], device: str) -> None:
    with pytest.raises(ValueError, match="common_attn_metadata must hold decodes of one query length alone"):
        builder(device).build_for_cudagraph_capture(common(device, query_lens, [50] * len(query_lens)))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("num_reqs", 3, "query_start_loc must have >= 4 entries for num_reqs = 3; got 3"),
        ("num_actual_tokens", 9, "num_actual_tokens must be >= the 10 tokens that query_start_loc_cpu counts; got 9"),
        ("num_actual_tokens", 11, "slot_mapping must have >= 11 entries"),
        ("max_seq_len", 49, "max_seq_len must be >= the 50 tokens in seq_lens_cpu; got 49"),
        ("seq_lens_cpu", torch.empty(2, device="meta"), "seq_lens_cpu must be on the host; got meta"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(field: str, value, sentence: str) -> None:
    good = common("cpu", [1, 9], [50, 40])
    with pytest.raises(ValueError, match=sentence):
        CommonAttentionMetadata(**{**vars(good), field: value})


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_speculative_tokens": 8}, "num_speculative_tokens must be an int from 0 to 7; got 8"),
        ({"max_num_reqs": 0}, "max_num_reqs must be an int >= 1; got 0"),
        ({"max_model_len": 0}, "max_model_len must be an int >= 1; got 0"),
        ({"micro_batch": -1}, "micro_batch must be an int >= 0; got -1"),
    ],
)
def test_a_builder_of_the_impossible_is_refused(wrong: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MiniMaxM3IndexerMSAMetadataBuilder(CONFIG, "cpu", **{"max_num_reqs": 1, "max_model_len": 1, **wrong})
