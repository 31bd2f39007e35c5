"""A scene is its case: the same bits every time, poison where no one may look, guards that notice."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fuzz.cases.case import TAILS, Case, PagePlan, Request, Step, ValuePlan, ViewPlan, Views
from fuzz.cases.generate import gate_cases
from fuzz.cases.scale import LARGE, SMALL, Scale
from fuzz.inputs.bit_equality import same_bits, same_width
from fuzz.inputs.far_buffers import make_far_scores
from fuzz.inputs.poisoned_memory import GarbageWorkspaces
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Undefined
from fuzz.targets import Call, Target, fill, find
from msa_ref import IndexerConfig, index_topk
from msa_ref.contract import Violation

CASE = Case(
    IndexerConfig(2, 16, 16, 4),
    (Request(2, 70), Request(1, 9), Request(0, 33), Request(3, 0)),
    seed=5,
    pages=PagePlan(spare_pages=2, extra_blocks=3),
)


def _verdict(case: Case, run: object, **options: bool) -> Agreed | Broke | Undefined:
    assert callable(run)
    return Examiner(Scene(case, "cpu")).examine(Target("test", "", "foreign", run, **options))


def _laws(verdict: Agreed | Broke | Undefined) -> set[str]:
    assert isinstance(verdict, Broke), verdict
    return {violation.law for violation in verdict.violations}


@pytest.mark.parametrize(("scale", "count"), [(SMALL, 30), (LARGE, 4)], ids=["small", "large"])
def test_a_case_always_makes_the_same_valid_tensors(scale: Scale, count: int) -> None:
    for case in gate_cases(2, count, scale):
        one, two = Scene(case, "cpu"), Scene(case, "cpu")
        for state in range(len(case.states)):
            one.apply(state)
            two.apply(state)
            one.batch.validate()
            for name in ("index_q", "index_k_pages"):
                assert same_bits(getattr(one.batch, name), getattr(two.batch, name))
            assert torch.equal(one.batch.block_table, two.batch.block_table)


@pytest.mark.parametrize("tail", ["nan", "inf", "bait"])
def test_poison_lies_in_spare_pages_and_behind_every_last_token(tail: str) -> None:
    scene = Scene(replace(CASE, pages=replace(CASE.pages, tail=tail)), "cpu")
    pages, table = scene.batch.index_k_pages.float(), scene.batch.block_table
    is_poison = {"nan": pages.isnan(), "inf": pages.isposinf(), "bait": pages.abs() > 1e4}[tail].all(-1)
    expected = torch.ones_like(is_poison)
    for req, seq_len in enumerate(scene.seq_lens):
        for token in range(seq_len):
            expected[table[req, token // 16], token % 16] = False
    assert torch.equal(is_poison, expected)


@pytest.mark.parametrize("behind", ["int_max", "minus_one", "random", "huge"])
def test_garbage_lies_behind_the_live_table_entries(behind: str) -> None:
    scene = Scene(replace(CASE, pages=replace(CASE.pages, behind=behind)), "cpu")
    for req, seq_len in enumerate(scene.seq_lens):
        dead = scene.batch.block_table[req, CASE.config.num_blocks(seq_len) :]
        assert ((dead < 0) | (dead >= scene.batch.num_pages)).all()


def test_shared_pages_are_the_same_pages() -> None:
    case = replace(CASE, requests=(Request(1, 70), Request(1, 50)), pages=PagePlan(shared_blocks=2))
    table = Scene(case, "cpu").batch.block_table
    assert table[0, :2].tolist() == table[1, :2].tolist()
    assert not set(table[0, 2:5].tolist()) & set(table[1, 2:4].tolist())


def test_neither_pages_nor_views_nor_poison_change_the_answer() -> None:
    plain = index_topk(Scene(CASE, "cpu").batch)
    for pages in (PagePlan(order="reversed"), PagePlan(tail="bait", behind="minus_one", spare_pages=9)):
        assert torch.equal(plain, index_topk(Scene(replace(CASE, pages=pages), "cpu").batch))
    views = Views(
        index_q=ViewPlan((1, 0, 2), (3, 1, 8), 2, 5), index_k_pages=ViewPlan((0, 2, 1)), seq_lens=ViewPlan(step=2)
    )
    assert torch.equal(plain, index_topk(Scene(replace(CASE, views=views), "cpu").batch))
    gapped = Scene(replace(CASE, views=Views(index_k_pages=ViewPlan(gap=4))), "cpu").batch
    size = CASE.config.block_size * CASE.config.index_head_dim
    assert gapped.index_k_pages.stride()[:2] == (size + 4, CASE.config.index_head_dim)
    assert torch.equal(plain, index_topk(gapped))


def test_replay_steps_change_contents_and_no_address() -> None:
    step = Step((Request(2, 200), Request(1, 0), Request(0, 0), Request(3, 64)), is_remapped=True, values_seed=9)
    scene = Scene(replace(CASE, replay=(step,)), "cpu")
    before = index_topk(scene.batch)
    pointers = [getattr(scene.batch, name).data_ptr() for name in ("index_q", "index_k_pages", "block_table")]
    scene.apply(1)
    scene.batch.validate()
    assert not torch.equal(before, index_topk(scene.batch))
    scene.apply(0)
    assert torch.equal(before, index_topk(scene.batch))
    assert pointers == [getattr(scene.batch, name).data_ptr() for name in ("index_q", "index_k_pages", "block_table")]


@pytest.mark.parametrize("late", ["query", "page"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn/nvfp4"])
def test_a_late_change_is_of_one_late_query_or_page(late: str, dtype: str) -> None:
    requests = (Request(5, 16 * 5), Request(1, 16 * 6 - 3))
    steps = (Step(requests), Step(requests, late=late))
    case = Case(IndexerConfig(2, 16, 16, 2, 0, 1), requests, seed=5, dtype=dtype, replay=steps)
    scene = Scene(case, "cpu")
    inputs = []
    for state in (1, 2):
        scene.apply(state)
        inputs.append([same_width(getattr(scene.batch, name)).clone() for name in ("index_q", "index_k_pages")])
    changed = [(old != new).flatten(1).any(1).nonzero().flatten().tolist() for old, new in zip(*inputs, strict=True)]
    assert changed[0] == ([5] if late == "query" else [])
    assert len(changed[1]) == (late == "page")
    assert all(page >= 4 for page in changed[1])


def test_far_pages_pass_two_to_the_31_elements_and_change_nothing(device: str) -> None:
    far = Scene(replace(CASE, pages=PagePlan(is_far=True, spare_pages=4)), device)
    assert far.batch.index_k_pages.stride(0) * (far.batch.num_pages - 1) >= 2**31
    assert torch.equal(index_topk(far.batch).cpu(), index_topk(Scene(CASE, "cpu").batch))


@pytest.mark.parametrize("num_reqs", [1, 5])
def test_far_queries_and_tables_pass_2_to_the_31_and_change_nothing(num_reqs: int) -> None:
    near = replace(CASE, requests=(Request(3, 5 * CASE.config.block_size),) * num_reqs, views=Views())
    far = Scene(replace(near, pages=PagePlan(is_far=True, spare_pages=4)), "cpu").batch
    rows = far.block_table if num_reqs > 2 else far.block_table.T
    assert all(2**31 <= one.stride(0) * (len(one) - 1) < 2**32 + 2**12 for one in (far.index_q, rows))
    assert max(far.index_q.stride(0), rows.stride(0)) < 2**31
    assert torch.equal(index_topk(far), index_topk(Scene(near, "cpu").batch))


def test_far_scores_pass_2_to_the_31_and_change_nothing(device: str) -> None:
    case = replace(CASE, pages=PagePlan(is_far=True, spare_pages=4))
    far, near = Scene(case, device), Scene(CASE, "cpu")
    most = case.max_row_blocks
    assert far.score().stride(2) * (most - 1) >= 2**31
    assert torch.equal(far.score()[..., :most].cpu().nan_to_num(), near.score()[..., :most].nan_to_num())
    assert isinstance(Examiner(far).examine(find("topk")), Agreed)


def test_scores_that_cannot_be_made_accuse_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scene: Scene) -> torch.Tensor:
        raise IndexError(scene.case.seed)

    monkeypatch.setattr(Scene, "score", fail)
    with pytest.raises(IndexError):
        Examiner(Scene(CASE, "cpu")).examine(find("topk"))


def test_far_scores_lie_as_far_apart_as_memory_allows() -> None:
    device = torch.device("meta")  # addresses alone
    view = make_far_scores((2, 3, 6), 5, device).tensor
    assert view.stride() == (1, 2, view.stride(2))
    assert view.stride(2) * 4 >= 2**31 > view.stride(2) * 3
    assert make_far_scores((2, 3, 8), 8, device).tensor.stride(2) * 6 >= 2**31, "the last block is not the only one"
    assert make_far_scores((2, 3, 60), 5, device).tensor.stride() == (1, 2, 6)
    assert make_far_scores((2, 3, 1), 1, device).tensor.stride(2) >= 2**31


def test_hashed_values_lie_where_the_layout_says() -> None:
    case = replace(CASE, values=ValuePlan("hashed"))
    for pages in (PagePlan(), PagePlan(order="reversed", spare_pages=3)):
        scene = Scene(replace(case, pages=pages), "cpu")
        scene.batch.validate()
        assert torch.equal(index_topk(Scene(case, "cpu").batch), index_topk(scene.batch))
    pool = Scene(replace(case, pages=PagePlan(pool_pages=16)), "cpu")
    pool.batch.validate()
    assert pool.batch.num_pages == 16


def test_the_guards_notice_what_the_answer_does_not_show() -> None:
    views = replace(CASE, views=Views(out=ViewPlan(pads=(1, 1, 2), offset=3), extra_rows=2))

    def outside(call: Call) -> torch.Tensor:
        assert call.out is not None
        fill(call, index_topk(call.batch))
        call.out.as_strided((1,), (1,), call.out.storage_offset() + call.out.shape[2]).fill_(0)
        return call.out

    def extra(call: Call) -> torch.Tensor:
        assert call.out is not None
        fill(call, index_topk(call.batch))[:, -1] = -1
        return call.out

    def forgets(call: Call) -> torch.Tensor:
        assert call.out is not None
        call.out[:1, : call.batch.total_q] = index_topk(call.batch)[:1]
        return call.out

    def scribbles(call: Call) -> torch.Tensor:
        answer = index_topk(call.batch)
        call.batch.seq_lens.add_(1)
        return fill(call, answer)

    assert _laws(_verdict(views, outside)) == {"WritesOnly"}
    assert _laws(_verdict(views, extra)) == {"WritesOnly"}
    assert "WritesAll" in _laws(_verdict(views, forgets))
    assert _laws(_verdict(views, scribbles)) == {"ReadsOnly"}


@pytest.mark.parametrize("tail", ["nan", "inf", "bait"])
def test_what_a_target_allocates_and_does_not_write_holds_garbage(tail: str) -> None:
    case = replace(CASE, pages=replace(CASE.pages, tail=tail), views=Views(is_out_given=False))
    seen = []

    def forgets(call: Call) -> torch.Tensor:
        seen.extend([torch.empty(3), torch.empty(3, dtype=torch.float16).float(), torch.zeros(3), torch.ones(3)])
        answer = torch.empty_like(index_topk(call.batch))
        answer[:1] = index_topk(call.batch)[:1]
        return answer

    assert "WritesAll" in _laws(_verdict(case, forgets))
    for made in seen[:2]:
        assert {"nan": made.isnan(), "inf": made.isposinf(), "bait": made > 1e4}[tail].all()
    assert (seen[2].sum(), seen[3].sum()) == (0, 3)


@pytest.mark.parametrize("combine", [torch.maximum, torch.minimum])
def test_an_answer_combined_with_what_was_there_breaks_writes_all(
    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    def combines(call: Call) -> torch.Tensor:
        assert call.out is not None
        topk_idx = index_topk(call.batch)
        return fill(call, combine(topk_idx, call.out[:, : topk_idx.shape[1]]))

    assert "WritesAll" in _laws(_verdict(replace(CASE, repeats=1), combines))


def test_an_answer_of_another_shape_or_dtype_breaks_shape() -> None:
    case = replace(CASE, views=Views(is_out_given=False))
    assert _laws(_verdict(case, lambda call: index_topk(call.batch).long())) == {"Shape"}
    assert _laws(_verdict(case, lambda call: index_topk(call.batch).transpose(0, 1))) == {"Shape"}
    assert _laws(_verdict(case, lambda call: None)) == {"Shape"}


def test_an_exception_is_a_finding() -> None:
    def fails(call: Call) -> torch.Tensor:
        raise RuntimeError("out of registers\nsecond line")

    verdict = _verdict(CASE, fails)
    assert _laws(verdict) == {"Runs"}
    assert "RuntimeError: out of registers" in str(verdict.violations[0]) if isinstance(verdict, Broke) else False


def test_a_case_outside_the_limits_is_undefined() -> None:
    case = replace(CASE, config=IndexerConfig(2, 24, 16, 4))
    assert isinstance(Examiner(Scene(case, "cpu")).examine(find("prefill")), Undefined)
    long = replace(CASE, requests=(Request(9, 20),))
    assert isinstance(Examiner(Scene(long, "cpu")).examine(find("decode")), Undefined)
    assert isinstance(Examiner(Scene(CASE, "cpu")).examine(find("decode-graph")), Undefined)


def test_a_violation_names_law_head_token_request_step_and_splits() -> None:
    violation = Violation("Best", "evidence", head=1, token=7, req=2, num_splits=3, state=1)
    assert str(violation) == "Best: head 1, token 7, request 2, after replay step 1, at num_splits 3: evidence"


@pytest.mark.parametrize("tail", TAILS)
def test_a_workspace_of_any_format_gets_garbage(tail: str) -> None:
    with GarbageWorkspaces(tail):
        for name in (
            "float4_e2m1fn_x2",
            "float8_e4m3fn",
            "float8_e5m2",
            "float8_e8m0fnu",
            "complex64",
            "uint16",
            "int4",
        ):
            assert torch.empty(4, dtype=getattr(torch, name)).view(torch.uint8).any(), name
        torch.empty(4, requires_grad=True)
        torch.empty((2, 2), layout=torch.sparse_coo)


def test_scores_asked_for_in_inference_mode_are_filled_again_outside() -> None:
    scene = Scene(replace(CASE, views=Views(score=ViewPlan(pads=(0, 0, 1)))), "cpu")
    with torch.inference_mode():
        assert scene.score_out() is not None
        scene.score()
    scene.new_out()
