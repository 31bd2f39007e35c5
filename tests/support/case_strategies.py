"""Hypothesis strategies of cases: any case of a scale, and small decode cases with long replay scripts."""

from typing import Any

from hypothesis import strategies as st

from fuzz.cases.case import Case, PagePlan, Request, ValuePlan, Views
from fuzz.cases.chooser import HypothesisChooser
from fuzz.cases.generate import draw_case
from fuzz.cases.replay_script import draw_script
from fuzz.cases.scale import SMALL, Scale
from fuzz.cases.specialization import draw_specializations
from msa_ref import IndexerConfig


@st.composite
def cases(draw: Any, scale: Scale = SMALL) -> Case:
    """A case of any specialization."""
    chooser = HypothesisChooser(draw)
    (specialization,) = draw_specializations(chooser, scale, 1)
    return draw_case(chooser, scale, specialization)


@st.composite
def graph_cases(draw: Any, max_steps: int = 6) -> Case:
    """A small decode case with a replay script; the simplest is one token of one request, replayed unchanged."""
    chooser = HypothesisChooser(draw)
    config = IndexerConfig(chooser.choice((1, 2, 3)), 16, 16, chooser.choice((2, 1, 3, 4)))

    def new_request(_: int, query_len: int) -> Request:
        return Request(query_len, chooser.integer(0, 10 * config.block_size))

    requests = tuple(new_request(0, chooser.choice((1, 2, 3))) for _ in range(chooser.integer(1, 3)))
    return Case(
        config,
        requests,
        seed=chooser.integer(1, 1000),
        values=ValuePlan(chooser.choice(("integers", "few_values", "decreasing", "ulp_ladder"))),
        pages=PagePlan(chooser.choice(("identity", "permuted")), spare_pages=chooser.integer(0, 2)),
        views=Views(is_out_given=chooser.boolean(80)),
        num_splits=(chooser.choice((0, 1, 2, 3)),),
        replay=draw_script(chooser, requests, new_request, max_steps, config.block_size),
    )
