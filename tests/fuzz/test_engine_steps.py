"""Targets of kind `step`: an engine's classes through the steps of a case, and what is held where no judge can look."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fuzz.cases.case import DTYPES, Case, EnginePlan, Request, Step
from fuzz.cases.coverage import Coverage
from fuzz.cases.engine_steps import counts, drafts_of, order_fault, query_lens_of
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import inside
from fuzz.cases.scale import LARGE, SMALL, Scale
from fuzz.cases.step_dimensions import STEP_DIMENSIONS
from fuzz.commands.gate_tasks import GateTasks
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner
from fuzz.judge.verdict import Agreed, Broke, Verdict
from fuzz.targets import BUILT_IN, EngineSetup, EngineStep, step_target
from msa_fast.ops import product
from msa_ref import PAD, IndexerConfig, PagedBatch, index_topk

STEPS = Case(
    IndexerConfig(2, 16, 16, 3),
    (Request(2, 150), Request(2, 40), Request(7, 90), Request(0, 0)),
    replay=(Step((Request(2, 152), Request(2, 20), Request(2, 33), Request(5, 61)), is_remapped=True),),
    engine=EnginePlan(3, judged_layer=1),
)
HALVES = replace(STEPS, engine=EnginePlan(2, second_micro_batch=2))


class Sane:
    """An engine that answers by the reference, in its buffers."""

    def __init__(self, setup: EngineSetup) -> None:
        self.setup = setup

    def build(self, step: EngineStep, micro_batch: int) -> Any:
        return step, micro_batch

    def forward(self, layer: int, queries: torch.Tensor, pages: torch.Tensor, metadata: Any) -> Any:
        step, micro_batch = metadata
        ids = self.answer(queries, pages, step)
        buffer = self.buffer(layer, micro_batch)
        buffer[:, : ids.shape[1]] = ids
        return buffer[:, : ids.shape[1]]

    def answer(self, queries: torch.Tensor, pages: torch.Tensor, step: EngineStep) -> torch.Tensor:
        num_tokens = int(step.query_start_loc[-1])
        rows = step.block_table_tensor, step.seq_lens, step.query_start_loc
        return index_topk(PagedBatch(self.setup.config, queries[:num_tokens], pages, *rows))

    def buffer(self, layer: int, micro_batch: int) -> torch.Tensor:
        buffer = self.setup.topk_indices_buffers[layer]
        return buffer[micro_batch] if buffer.dim() == 4 else buffer


def judged(engine: Callable[[EngineSetup], Any], case: Case, fills_buffers: bool = False) -> Verdict:
    target = step_target("engine", "", engine, BUILT_IN["step"].profile, fills_buffers=fills_buffers)
    return Examiner(Scene(case, "cpu")).examine(target)


def test_more_requests_of_fewer_drafts_than_a_graph_has_are_refused_and_served(device: str) -> None:
    replay = (Step((Request(8, 80), Request(0, 0))),)
    case = replace(STEPS, requests=(Request(4, 70), Request(4, 50)), replay=replay, engine=EnginePlan())
    assert isinstance(Examiner(Scene(case, device)).examine(BUILT_IN["step-graph"]), Agreed)


@pytest.mark.parametrize(
    ("name", "value", "is_excused"), [("FP8_ARCHITECTURES", (), True), ("MIN_FP8_DIM", 33, False)], ids=["unit", "dim"]
)
def test_a_refused_product_is_excused_by_a_missing_unit_alone(
    name: str, value: object, is_excused: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = replace(STEPS, config=IndexerConfig(2, 32, 16, 3), dtype="float8_e4m3fn")
    monkeypatch.setattr(product, name, value)
    assert isinstance(Examiner(Scene(case, device)).examine(BUILT_IN["step"]), Agreed if is_excused else Broke)


class InPairs(Sane):
    """Returns decodes and prefills apart, and None for a side without tokens."""

    def forward(self, *given: Any) -> Any:
        ids = super().forward(*given)
        return ids[:, :4], (ids[:, 4:] if ids.shape[1] > 4 else None)


class InItsOwnMemory(Sane):
    """Leaves the buffers alone."""

    def forward(self, layer: int, queries: torch.Tensor, pages: torch.Tensor, metadata: Any) -> Any:
        return self.answer(queries, pages, metadata[0])


class PadsBehind(Sane):
    """Fills the rows behind a step with PAD, as a graph does."""

    def forward(self, layer: int, queries: torch.Tensor, pages: torch.Tensor, metadata: Any) -> Any:
        self.buffer(layer, metadata[1])[:] = PAD
        return super().forward(layer, queries, pages, metadata)


OTHER_TOKENS = replace(
    STEPS,
    requests=(Request(2, 150), Request(2, 40), Request(0, 0), Request(0, 0)),
    replay=(*STEPS.replay, Step((Request(1, 152), Request(0, 0), Request(0, 0), Request(0, 0)))),
)
LEFT_OUT = replace(OTHER_TOKENS, engine=replace(STEPS.engine, has_padding=False))
"""The first and the last step bring fewer tokens than the second, and are given no padding requests."""
OLD_IDS = replace(STEPS, extra_queries=3, repeats=2)
"""In the third of its runs the buffer holds ids of an earlier step."""


@pytest.mark.parametrize(
    "case",
    [STEPS, HALVES, OTHER_TOKENS, LEFT_OUT, replace(LEFT_OUT, engine=HALVES.engine), OLD_IDS],
    ids=["layers", "halves", "other tokens", "left out", "halves of other tokens", "old ids"],
)
@pytest.mark.parametrize("engine", [Sane, InPairs, InItsOwnMemory, PadsBehind])
def test_a_sane_engine_is_never_accused(engine: type[Sane], case: Case) -> None:
    shared = replace(case, engine=replace(case.engine, is_buffer_shared=True))
    for one in (case, shared):
        verdict = judged(engine, one)
        assert isinstance(verdict, Agreed), verdict


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sane_engine_agrees_in_every_format(dtype: str) -> None:
    verdict = judged(Sane, replace(STEPS, dtype=dtype))
    assert isinstance(verdict, Agreed), verdict


class OneBuffer(Sane):
    """Writes the last layer's buffer in every layer."""

    def buffer(self, layer: int, micro_batch: int) -> torch.Tensor:
        return super().buffer(-1, micro_batch)


class OneSlot(Sane):
    """Writes every micro-batch into the first slot."""

    def buffer(self, layer: int, micro_batch: int) -> torch.Tensor:
        return super().buffer(layer, 0)


class BehindItsSlot(Sane):
    """Writes one row more than a micro-batch has."""

    def forward(self, layer: int, queries: torch.Tensor, pages: torch.Tensor, metadata: Any) -> Any:
        ids = super().forward(layer, queries, pages, metadata)
        self.buffer(layer, metadata[1])[:, ids.shape[1] : ids.shape[1] + 1] = 0
        return ids


class RowsOfTheFirstStep(Sane):
    """Has rows for as many tokens as its first step brought."""

    def forward(self, layer: int, queries: torch.Tensor, pages: torch.Tensor, metadata: Any) -> Any:
        first = self.__dict__.setdefault("first", len(queries))
        return super().forward(layer, queries, pages, metadata)[:, :first]


class AllRequests(Sane):
    """Counts on as many requests in a step as there may be."""

    def build(self, step: EngineStep, micro_batch: int) -> Any:
        assert step.num_reqs == self.setup.max_num_reqs, "fewer requests than there may be"
        return super().build(step, micro_batch)


class ReturnsAnotherTensor(Sane):
    """Returns other rows than it wrote."""

    def forward(self, *given: Any) -> Any:
        return super().forward(*given).flip(1)


class RunsIntoTheNextLayer(Sane):
    """Writes its selections into the layer before, too."""

    def forward(self, layer: int, queries: torch.Tensor, pages: torch.Tensor, metadata: Any) -> Any:
        ids = super().forward(layer, queries, pages, metadata)
        if layer:
            self.buffer(layer - 1, metadata[1])[:, : ids.shape[1]] = ids
        return ids


class ForgetsPrefills(Sane):
    """Returns the selections of decodes alone."""

    def forward(self, *given: Any) -> Any:
        return super().forward(*given)[:, :4]


@pytest.mark.parametrize(
    ("engine", "case", "law"),
    [
        (OneBuffer, STEPS, "WritesOnly"),
        (OneSlot, HALVES, "WritesOnly"),
        (BehindItsSlot, HALVES, "WritesOnly"),
        (ReturnsAnotherTensor, STEPS, "Shape"),
        (RowsOfTheFirstStep, OTHER_TOKENS, "Shape"),
        (AllRequests, LEFT_OUT, "Runs"),
        (RunsIntoTheNextLayer, STEPS, "WritesOnly"),
        (ForgetsPrefills, STEPS, "Shape"),
    ],
)
def test_a_broken_engine_is_caught_by_a_law_that_says_so(engine: type[Sane], case: Case, law: str) -> None:
    verdict = judged(engine, case)
    assert isinstance(verdict, Broke)
    assert law in {found.law for found in verdict.violations}


@pytest.mark.parametrize("extra_queries", [0, 3])
def test_a_step_is_given_its_own_rows_of_the_queries(extra_queries: int) -> None:
    seen = list[tuple[int, int, int]]()

    class Sees(Sane):
        def forward(self, layer: int, queries: torch.Tensor, pages: torch.Tensor, metadata: Any) -> Any:
            seen.append((len(queries), metadata[0].num_actual_tokens, metadata[0].num_reqs))
            return super().forward(layer, queries, pages, metadata)

    case = replace(LEFT_OUT, extra_queries=extra_queries, engine=replace(LEFT_OUT.engine, num_layers=2))
    assert isinstance(judged(Sees, case), Agreed)
    rows = [tokens + extra_queries for tokens in (4, 11, 1)]
    assert list(dict.fromkeys(seen)) == [(num, num, reqs) for num, reqs in zip(rows, (2, 4, 1), strict=True)]


def test_an_engine_that_promises_its_buffers_has_to_fill_them() -> None:
    assert isinstance(judged(InPairs, STEPS, fills_buffers=True), Agreed)
    verdict = judged(InItsOwnMemory, STEPS, fills_buffers=True)
    assert isinstance(verdict, Broke)
    assert verdict.violations[0].law == "WritesAll"


@pytest.mark.parametrize(("scale", "count"), [(SMALL, 96), (LARGE, 200)], ids=["small", "large"])
def test_drawn_steps_are_decode_first_and_reach_every_bucket(scale: Scale, count: int) -> None:
    scale = inside(scale, BUILT_IN["step"].domain)
    coverage = Coverage(scale, STEP_DIMENSIONS)
    for case in gate_cases(20_260, count, scale):
        assert order_fault(query_lens_of(case)) is None
        assert len(case.states) > 1
        coverage.add(case)
    assert coverage.universe
    assert [bucket for buckets in coverage.table().values() for bucket, hits in buckets.items() if not hits] == []


def test_a_step_is_counted_as_an_engine_splits_it() -> None:
    assert drafts_of([[4, 4, 20], [9, 1]]) == 3
    assert counts([4, 4, 2, 20, 0, 0], 3) == (2, 2, 2)
    assert counts([9, 20], 3) == (0, 2, 0)
    assert counts([0, 0], 3) == (0, 0, 2)
    assert order_fault([[1, 20], [20, 1]]) == "its requests are not decode-first at step 1"
    assert order_fault([[1, 0, 20]]) == "a request without a token comes before others at step 0"


def test_a_gate_gives_a_target_its_share_of_drawn_cases() -> None:
    tasks = GateTasks([replace(BUILT_IN["prefill-bound"], name=str(each), drawn_each=each) for each in (1, 3)], "cpu")
    tasks.give_drawn(20_260, 48, SMALL)
    given = [[task.case for task in tasks.as_list() if name in task.targets] for name in ("1", "3")]
    assert [len(cases) for cases in given] == [48, 16]
    assert {bool(case.replay) for case in given[1]} == {True, False}
