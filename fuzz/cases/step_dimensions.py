"""The dimensions of an engine's steps: requests, drafts, layers, micro-batches. Other cases have none of them."""

from collections.abc import Callable, Iterable
from itertools import pairwise

from fuzz.cases.case import Case, EnginePlan
from fuzz.cases.dimension import Dimension
from fuzz.cases.engine_steps import StepCounts, counts, drafts_of, query_lens_of
from fuzz.cases.scale import Scale

NUMBERS = ("0", "1", "2 and more")
OTHER_TOKENS = ("more tokens", "fewer tokens")
"""Buckets of steps that leave rows of `index_q` behind."""
MIXTURES = ("decodes alone", "prefills alone", "both")


def _number(value: int) -> str:
    return NUMBERS[min(value, 2)]


def _steps(case: Case) -> list[StepCounts]:
    lens = query_lens_of(case)
    return [counts(step, drafts_of(lens)) for step in lens]


def _mixture(step: StepCounts) -> str:
    if not step.decodes and not step.prefills:
        return "neither"
    return MIXTURES[2] if step.decodes and step.prefills else MIXTURES[not step.decodes]


def _changes(case: Case) -> Iterable[str]:
    steps = _steps(case)
    for before, after in pairwise(steps):
        if before.decodes != after.decodes:
            yield "fewer decodes" if after.decodes < before.decodes else "more decodes"
        else:
            yield "as many decodes"


def _tokens(case: Case) -> Iterable[str]:
    for before, after in pairwise(case.states):
        more = case.rows_behind(before) - case.rows_behind(after)
        yield "more tokens" if more > 0 else "fewer tokens" if more else "as many tokens"


def _padding(case: Case) -> Iterable[str]:
    if any(step.padding for step in _steps(case)):
        yield "given" if case.engine.has_padding else "left out"


def _layers(case: Case) -> Iterable[str]:
    plan = case.engine
    if plan.judged_layer > 0:
        yield "another before"
    if plan.judged_layer < plan.num_layers - 1:
        yield "another behind"
    if plan.num_layers > 1:
        yield "one buffer for all" if plan.is_buffer_shared else "a buffer each"


def _of_steps(name: str, wanted: tuple[str, ...], of: Callable[[Case], Iterable[str]]) -> Dimension:
    """A dimension of cases that have an engine's plan."""

    def buckets(scale: Scale) -> tuple[str, ...]:
        taken = wanted if scale.bounds.has_padded_queries else [name for name in wanted if name not in OTHER_TOKENS]
        return tuple(taken) if scale.kinds == ("step",) else ()

    return Dimension(name, buckets, lambda case: of(case) if case.engine != EnginePlan() else ())


STEP_DIMENSIONS = (
    _of_steps("decodes of a step", NUMBERS, lambda case: [_number(step.decodes) for step in _steps(case)]),
    _of_steps("prefills of a step", NUMBERS, lambda case: [_number(step.prefills) for step in _steps(case)]),
    _of_steps("padding requests of a step", NUMBERS, lambda case: [_number(step.padding) for step in _steps(case)]),
    _of_steps("a step", MIXTURES, lambda case: map(_mixture, _steps(case))),
    _of_steps("the next step", ("fewer decodes", "as many decodes", "more decodes"), _changes),
    _of_steps("tokens of the next step", ("as many tokens", *OTHER_TOKENS), _tokens),
    _of_steps("padding requests", ("given", "left out"), _padding),
    _of_steps("drafts", NUMBERS, lambda case: [_number(drafts_of(query_lens_of(case)))]),
    _of_steps("layers", ("another before", "another behind", "one buffer for all", "a buffer each"), _layers),
    _of_steps("micro-batches", ("1", "2"), lambda case: [str(1 + bool(case.engine.second_micro_batch))]),
    _of_steps("steps", ("2", "3"), lambda case: [str(len(case.states))]),
)
"""The dimensions of an engine's steps. A query tensor longer than its requests is a dimension of all cases."""
