"""Makes a broken case smaller: removes each piece without which the case still breaks.

Hypothesis shrinks the choices that made a case. This module shrinks the case itself, and also its specialization,
which is fixed in a round of a run. A field with a default needs no line here: its default is tried.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any

from fuzz.cases.case import Case, Request, Step, ValuePlan

PLAIN_FAMILIES = ("few_values", "integers", "plateau", "decreasing")
"""Families that are tried in the place of others, in this order."""
SIMPLER_THAN_DEFAULT = {"seed": 1, "order": "identity", "family": PLAIN_FAMILIES[0]}
"""Values of fields that are simpler than their defaults."""


def shrink(case: Case, shows: Callable[[Case], bool], deadline: float = math.inf) -> Case:
    """The smallest case that greedy steps reach before a deadline.

    Args:
        shows: whether a smaller case still shows the same defect.
        deadline: a time of `time.perf_counter`, looked at before every try.
    """
    seen = {case}
    progress = True
    while progress and time.perf_counter() <= deadline:
        progress = False
        for smaller in _smaller(case):
            if time.perf_counter() > deadline:
                break
            if smaller in seen:
                continue
            seen.add(smaller)
            if shows(smaller):
                case, progress = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Cases that are simpler in one respect, the largest steps first."""
    for make in (_requests, _replay, _lengths, _defaults, _config, _num_splits, _families):
        for changes in make(case):
            try:
                yield replace(case, **changes)
            except ValueError:
                # The rest of the case does not allow this change; the next one may do.
                continue


Changes = Iterator[dict[str, Any]]
"""Fields of a case and their new values, one try after another."""


def _requests(case: Case) -> Changes:
    """One request alone, or one request fewer; with the replay, whose steps may have to bring as many tokens."""
    count = len(case.requests)
    subsets = [[req] for req in range(count)] if count > 2 else []
    subsets += [[other for other in range(count) if other != req] for req in range(count)] if count > 1 else []
    for kept in subsets:
        requests = tuple(case.requests[req] for req in kept)
        yield {"requests": requests, "replay": ()}
        steps = [replace(step, requests=tuple(step.requests[req] for req in kept)) for step in case.replay]
        yield {"requests": requests, "replay": tuple(steps)}
        own = [_with_tokens_of(requests, step) for step in steps]
        yield {"requests": requests, "replay": tuple(own)}
        # Queries that moved to another request were new there.
        yield {"requests": requests, "replay": tuple(replace(step, values_seed=case.seed + 1) for step in own)}


def _with_tokens_of(requests: tuple[Request, ...], step: Step) -> Step:
    """The step with the query lengths of some requests."""
    pairs = zip(step.requests, requests, strict=True)
    return replace(step, requests=tuple(replace(after, query_len=before.query_len) for after, before in pairs))


def _replay(case: Case) -> Changes:
    """No replay, one step fewer, or a plainer step."""
    if case.replay:
        yield {"replay": ()}
    for number, step in enumerate(case.replay):
        yield {"replay": case.replay[:number] + case.replay[number + 1 :]}
        unchanged = replace(step, requests=case.states[number].requests)
        for plainer in (*_plainer(step), unchanged):
            yield {"replay": (*case.replay[:number], plainer, *case.replay[number + 1 :])}


def _lengths(case: Case) -> Changes:
    """A shorter request, in the case or in a step; shorter queries where there is no replay, which would fix them."""
    size = case.config.block_size
    for state, step in enumerate(case.states):
        for req, request in enumerate(step.requests):
            query_len, seq_len = request.query_len, request.seq_len
            tries = [] if case.replay else [Request(1, seq_len), Request(query_len // 2, seq_len)]
            tries += [] if case.replay else [Request(max(0, query_len - 1), max(0, seq_len - 1))]
            # Shorter by half, by a block, to whole blocks, by a token.
            shorter = (seq_len // 2, seq_len // size // 2 * size, seq_len - size, seq_len // size * size, seq_len - 1)
            tries += [Request(query_len, length) for length in shorter if length >= 0]
            for smaller in tries:
                if smaller.seq_len + smaller.query_len < seq_len + query_len:
                    yield _with_request(case, state, req, smaller)


def _with_request(case: Case, state: int, req: int, request: Request) -> dict[str, Any]:
    requests = case.states[state].requests
    requests = (*requests[:req], request, *requests[req + 1 :])
    if state == 0:
        return {"requests": requests}
    step: Step = replace(case.replay[state - 1], requests=requests)
    return {"replay": (*case.replay[: state - 1], step, *case.replay[state:])}


def _defaults(case: Case) -> Changes:
    """One field at its default, or one field of a plan that is a field."""
    for plainer in _plainer(case):
        yield {field.name: getattr(plainer, field.name) for field in fields(case)}


def _plainer(plan: Any) -> Iterator[Any]:
    """The plan with one field at its simplest, whole plans before their own fields."""
    for field in fields(plan):
        value, simplest = getattr(plan, field.name), _simplest(field)
        if simplest is MISSING or value == simplest:
            continue
        tries = [simplest, *(_plainer(value) if is_dataclass(value) else ())]
        for plainer in tries:
            try:
                yield replace(plan, **{field.name: plainer})
            except ValueError:
                # The rest of the plan does not allow this change; the next one may do.
                continue


def _simplest(field: Field[Any]) -> Any:
    """The simplest value of a field; MISSING where it has none."""
    if is_dataclass(field.default):
        plan: Any = field.default
        return replace(plan, **{inner.name: _simplest(inner) for inner in fields(plan)})
    return SIMPLER_THAN_DEFAULT.get(field.name, field.default)


def _config(case: Case) -> Changes:
    """A smaller config: fewer heads and slots, small blocks of the same number, short vectors."""
    config = case.config
    for name, sizes in (("num_index_heads", (1, 2)), ("index_head_dim", (16, 32))):
        for size in sizes:
            if size < getattr(config, name):
                yield _with_config(config, **{name: size})
    if config.block_size > 16:
        scaled = tuple(_in_blocks(request, config.block_size, 16) for request in case.requests)
        if not case.replay:
            yield _with_config(config, block_size=16) | {"requests": scaled}
        yield _with_config(config, block_size=16)
    for slots in (1, 2, config.topk_blocks // 2, config.topk_blocks - 1):
        if 0 < slots < config.topk_blocks:
            yield _with_config(config, topk_blocks=slots)
    for name in ("init_blocks", "local_blocks"):
        for count in (0, 1):
            if count < getattr(config, name):
                yield _with_config(config, **{name: count})


def _with_config(config: Any, **changes: int) -> dict[str, Any]:
    try:
        return {"config": replace(config, **changes)}
    except ValueError:
        return {}


def _in_blocks(request: Request, old: int, new: int) -> Request:
    """The request with as many blocks of the new size, the last of them as full as it can be."""
    blocks, rest = divmod(request.seq_len, old)
    seq_len = blocks * new + min(rest, new)
    return Request(min(request.query_len, max(1, seq_len)) if request.query_len else 0, seq_len)


def _num_splits(case: Case) -> Changes:
    """One split count alone, then a smaller one."""
    if len(case.num_splits) > 1:
        for num_splits in case.num_splits:
            yield {"num_splits": (num_splits,)}
    for num_splits in (0, 1, 2):
        if len(case.num_splits) == 1 and case.num_splits[0] > num_splits:
            yield {"num_splits": (num_splits,)}


def _families(case: Case) -> Changes:
    """A plainer family of values."""
    values = case.values
    families: tuple[str, ...] = PLAIN_FAMILIES
    if values.family in families:
        families = families[: families.index(values.family)]
    for family in families:
        for is_future_best in (False, values.is_future_best):
            yield {"values": ValuePlan(family, is_future_best=is_future_best)}
