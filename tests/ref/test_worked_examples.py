"""Worked examples, one for each law of the operator: small enough to check by hand.

Unless an example says otherwise: one head, one-dimensional queries and keys, blocks of two tokens.
Keys are written oldest first; a query of [1.0] makes every key its own token score.
"""

from dataclasses import replace

import torch

from msa_ref import PAD, IndexerConfig, PagedBatch, block_scores, index_topk
from msa_ref.certified import block_intervals
from msa_ref.precision import any_order_fp32, ieee_fp32, wgmma
from tests.support.ref_batches import INF, NAN, int32, row_batch


def config(**changes) -> IndexerConfig:
    defaults = {"num_index_heads": 1, "index_head_dim": 1, "block_size": 2, "topk_blocks": 2, "local_blocks": 0}
    return IndexerConfig(**(defaults | changes))


def one_row(keys: list[float], query: float = 1.0, **changes) -> list[int]:
    return index_topk(row_batch(config(**changes), [[query]], [[key] for key in keys]))[0, 0].tolist()


def test_token_score_is_the_dot_product():
    # q = (1, -2, 3), k = (4, 5, 6): 1*4 - 2*5 + 3*6 = 12
    batch = row_batch(config(index_head_dim=3, block_size=1), [[1.0, -2.0, 3.0]], [[4.0, 5.0, 6.0]])
    assert block_scores(batch, slice(0, 1)).tolist() == [[[12.0]]]


def test_block_score_is_the_maximum_over_its_visible_tokens():
    # blocks (1, 9), (4, 4) and (7, -): maxima 9, 4, 7. The unseen slot of the last page is NaN.
    batch = row_batch(config(), [[1.0]], [[1.0], [9.0], [4.0], [4.0], [7.0]])
    assert block_scores(batch, slice(0, 1)).tolist() == [[[9.0, 4.0, 7.0]]]


def test_the_best_blocks_are_selected_and_written_ascending():
    # block scores 9, 4, 7, 8: the best two are blocks 0 and 3; ids ascend, scores need not
    assert one_row([1, 9, 4, 4, 7, 0, 8, 8]) == [0, 3]
    # block scores 4, 7, 9: best first would be [2, 1]
    assert one_row([4, 0, 7, 0, 9, 0]) == [1, 2]


def test_equal_scores_go_to_the_lowest_id():
    # block scores 5, 6, 5, 5: one 6 and one of three equal 5s
    assert one_row([5, 0, 0, 6, 5, 5, 0, 5]) == [0, 1]


def test_minus_zero_equals_plus_zero():
    # block scores -0.0, +0.0, +0.0: equal, so the first two
    assert one_row([-0.0, -0.0, 0.0, 0.0, 0.0, 0.0]) == [0, 1]


def test_visible_a_query_token_sees_itself_and_all_before_it():
    # 5 tokens, the last 3 of them queries: token i sees 5 - 3 + i + 1 = 3, 4, 5 tokens in 2, 2, 3 blocks
    keys = [[0.0], [0.0], [0.0], [9.0], [9.0]]
    decode = row_batch(config(topk_blocks=3), [[1.0]], keys)
    batch = PagedBatch(
        decode.config,
        decode.index_q.expand(3, 1, 1),
        decode.index_k_pages,
        decode.block_table,
        int32([5]),
        int32([0, 3]),
    )
    assert batch.visible_lens().tolist() == [3, 4, 5]
    assert index_topk(batch)[0].tolist() == [[0, 1, PAD], [0, 1, PAD], [0, 1, 2]]


def test_count_a_short_row_is_padded_behind_its_blocks():
    # 3 tokens are 2 blocks: min(4, 2) = 2 ids, then PAD
    assert one_row([1, 2, 3], topk_blocks=4) == [0, 1, PAD, PAD]


def test_count_a_padding_row_sees_nothing():
    assert one_row([], topk_blocks=2) == [PAD, PAD]


def test_distinct_init_and_local_that_overlap_are_counted_once():
    # 3 blocks; first two and last two are forced: 0, 1 and 1, 2
    assert one_row([0, 0, 0, 0, 0, 0], topk_blocks=4, init_blocks=2, local_blocks=2) == [0, 1, 2, PAD]


def test_forced_blocks_pass_by_the_ranking():
    # block scores 9, 8, -inf: the last is local, and takes a slot from block 1
    assert one_row([9, 9, 8, 8, -INF, -INF], local_blocks=1) == [0, 2]
    # a forced block's score is not spent on the ranking either: 5, 1, 9 (local), K = 2
    assert one_row([5, 5, 1, 1, 9, 9], local_blocks=1) == [0, 2]


def test_best_a_nan_token_score_counts_as_minus_infinity():
    # blocks (NaN, 1), (2, 2), (NaN, NaN): scores 1, 2, -inf
    assert one_row([NAN, 1, 2, 2, NAN, NAN]) == [0, 1]
    # infinity times zero is NaN: q = 0 makes scores NaN, 0, 0
    assert one_row([INF, INF, 3, 3, 4, 4], query=0.0) == [1, 2]


def test_best_infinities_are_ordinary_values():
    # block scores -inf, 3, +inf
    assert one_row([-INF, -INF, 3, 0, INF, -INF]) == [1, 2]


def test_count_a_visible_block_of_score_minus_infinity_fills_a_slot():
    # block scores -inf, 1, -inf: one slot is left, equal scores go to the lowest id
    assert one_row([-INF, NAN, 1, 1, NAN, -INF]) == [0, 1]


def test_every_head_has_its_own_selection():
    # heads +1 and -1 over keys 3, 1, 2 in blocks of one: best 0 for the first, 1 for the second
    batch = row_batch(config(num_index_heads=2, block_size=1, topk_blocks=1), [[1.0], [-1.0]], [[3.0], [1.0], [2.0]])
    assert index_topk(batch).tolist() == [[[0]], [[1]]]


def test_a_block_is_logical_and_a_page_is_physical():
    # three blocks lie on pages 2, 0, 1; pages hold 5, 6, 7, so blocks score 7, 5, 6
    by_page = row_batch(config(block_size=1), [[1.0]], [[5.0], [6.0], [7.0]])
    batch = PagedBatch(
        by_page.config, by_page.index_q, by_page.index_k_pages, int32([[2, 0, 1]]), int32([3]), int32([0, 1])
    )
    assert block_scores(batch, slice(0, 1)).tolist() == [[[7.0, 5.0, 6.0]]]
    assert index_topk(batch)[0, 0].tolist() == [0, 2]


def test_append_one_brings_in_only_the_new_token_s_block():
    # blocks of one: scores 5, 3 select [0, 1]; a token of score 4 takes the slot of block 1; of score 2, none
    assert one_row([5, 3], block_size=1) == [0, 1]
    assert one_row([5, 3, 4], block_size=1) == [0, 2]
    assert one_row([5, 3, 2], block_size=1) == [0, 1]
    # with local_blocks = 1 the new block is forced, and the old local block must stand the ranking
    assert one_row([5, 3, 0], block_size=1, local_blocks=1) == [0, 2]
    assert one_row([5, 3, 0, 0], block_size=1, local_blocks=1) == [0, 3]


def test_chunked_prefill_sees_what_the_whole_prefill_sees():
    # 6 tokens, all queries: token 3 sees 4 of them, whether the last two have come or not
    keys = [[1.0], [0.0], [2.0], [3.0], [9.0], [9.0]]
    decode = row_batch(config(topk_blocks=1), [[1.0]], keys)
    whole = replace(decode, index_q=decode.index_q.expand(6, 1, 1), cu_seqlens_q=int32([0, 6]))
    first = replace(whole, index_q=whole.index_q[:4], seq_lens=int32([4]), cu_seqlens_q=int32([0, 4]))
    assert whole.visible_lens().tolist() == [1, 2, 3, 4, 5, 6]
    assert first.visible_lens().tolist() == [1, 2, 3, 4]
    assert index_topk(whole)[0].tolist() == [[0], [0], [1], [1], [2], [2]]
    assert index_topk(first)[0].tolist() == [[0], [0], [1], [1]]


def test_power_of_two_scale_keeps_every_comparison():
    # scores 3, 5, 5 become 12, 20, 20
    assert one_row([3, 5, 5], block_size=1, topk_blocks=1) == [1]
    assert one_row([3, 5, 5], query=4.0, block_size=1, topk_blocks=1) == [1]


def test_an_interval_is_the_exact_score_give_or_take_the_bound():
    # fp32, D = 2: 0.1 * 1 + 0.2 * 1, both rounded to fp32; M = 0.3 and gamma_2 = 1.2e-7, so +- 3.6e-8
    batch = row_batch(config(index_head_dim=2, block_size=1), [[1.0, 1.0]], [[0.1, 0.2]])
    lower, upper = block_intervals(batch, slice(0, 1), ieee_fp32(2))
    assert f"{lower.item():.9f} {upper.item():.9f}" == "0.299999969 0.300000040"
    assert f"{(upper - lower).item() / 2:.1e}" == "3.6e-08"
    # on whole numbers nothing is rounded: 3 + 4 = 7
    lower, upper = block_intervals(
        replace(batch, index_k_pages=torch.tensor([[[3.0, 4.0]]])), slice(0, 1), ieee_fp32(2)
    )
    assert (lower.item(), upper.item()) == (7.0, 7.0)


def test_the_bounds_of_the_design():
    # gamma_127 and 8 * (17 * 2^-25 + 2^-23)
    assert f"{any_order_fp32(128).relative:.1e}" == "7.6e-06"
    assert f"{wgmma(128).relative:.1e}" == "5.0e-06"
