"""Draws the steps of an engine: decodes with drafts, prefills and padding in one batch, and other shares of them later.

Steps have the same number of tokens, of which one decodes what another prefills; or each its own, where rows may lie
behind the last request's tokens.
"""

from collections.abc import Sequence

from fuzz.cases.case import EnginePlan, Request, Step
from fuzz.cases.chooser import Chooser
from fuzz.cases.draw_requests import draw_request
from fuzz.cases.scale import Scale
from fuzz.cases.specialization import Specialization

MAX_REQS = 7
"""Bound on the requests of a drawn step, padding ones included."""
MAX_SMALL_PREFILL = 40
"""Bound on the tokens that a step of a small scale prefills."""
MAX_STEPS = 2
"""Bound on the steps after the first one."""


def draw_steps(chooser: Chooser, scale: Scale, specialization: Specialization) -> list[Step]:
    """The steps of one engine, the first one first."""
    bounds = scale.bounds
    num_reqs = max(1, min(chooser.integer(2, MAX_REQS), bounds.max_total_q, bounds.profile.max_num_reqs or MAX_REQS))
    query_len = max(1, min(specialization.decode_query_len, bounds.max_total_q // num_reqs))
    if bounds.is_uniform:
        splits = [[query_len] * num_reqs] * (1 + chooser.integer(1, MAX_STEPS))
    else:
        num_tokens = _num_tokens(chooser, scale, num_reqs, query_len)
        is_kept = not bounds.has_padded_queries or chooser.boolean(40)
        splits = list[list[int]]()
        for _ in range(1 + chooser.integer(1, MAX_STEPS)):
            if splits and not is_kept:
                num_tokens = _num_tokens(chooser, scale, num_reqs, query_len)
            splits.append(_split(chooser, num_tokens, num_reqs, query_len, scale.max_prefill_len))
    steps, before = list[Step](), list[Request]()
    for lens in splits:
        before = [_request(chooser, scale, specialization, lens, req, before) for req in range(num_reqs)]
        is_first = not steps
        steps.append(
            Step(
                tuple(before),
                is_remapped=not is_first and chooser.boolean(40),
                values_seed=0 if is_first or chooser.boolean(60) else chooser.integer(1, 2**31 - 1),
                between="" if is_first or chooser.boolean(80) else chooser.choice(("eager", "elsewhere", "unread")),
            )
        )
    return steps


def draw_engine(chooser: Chooser, num_reqs: int) -> EnginePlan:
    """The model around a batch. On some engines a step is cut into two micro-batches."""
    num_layers = chooser.choice((2, 2, 1, 3))
    return EnginePlan(
        num_layers,
        judged_layer=chooser.integer(0, num_layers - 1),
        is_buffer_shared=num_layers > 1 and chooser.boolean(),
        second_micro_batch=chooser.integer(1, num_reqs - 1) if num_reqs > 1 and chooser.boolean(25) else 0,
        has_padding=not chooser.boolean(40),
    )


def _num_tokens(chooser: Chooser, scale: Scale, num_reqs: int, query_len: int) -> int:
    """Query tokens of a step: those of some decodes, and in most cases those of a prefill."""
    num_tokens = query_len * chooser.integer(1, num_reqs)
    if chooser.boolean(60):
        longest = scale.max_prefill_len if scale.is_compiled else min(scale.max_prefill_len, MAX_SMALL_PREFILL)
        num_tokens += chooser.integer(1, max(1, longest))
    return min(num_tokens, scale.bounds.max_total_q, num_reqs * scale.max_prefill_len)


def _split(chooser: Chooser, num_tokens: int, num_reqs: int, query_len: int, longest: int) -> list[int]:
    """Query lengths of one step: equal ones of decodes, then others in ascending order, then zeros."""
    if chooser.boolean(20):
        query_len = chooser.integer(1, query_len)  # fewer drafts than there may be
    num_decodes = min(chooser.integer(0, num_reqs), num_tokens // query_len)
    left = num_tokens - num_decodes * query_len
    while left > (num_reqs - num_decodes) * longest:  # one decode less: the others prefill its tokens
        num_decodes -= 1
        left += query_len
    if left == 0:
        return [query_len] * num_decodes + [0] * (num_reqs - num_decodes)
    num_others = chooser.integer(-(-left // longest), min(left, num_reqs - num_decodes))
    others = _parts(chooser, left, num_others, longest)
    return [query_len] * num_decodes + sorted(others) + [0] * (num_reqs - num_decodes - num_others)


def _parts(chooser: Chooser, total: int, count: int, longest: int) -> list[int]:
    """`count` positive numbers up to `longest` whose sum is `total`."""
    parts = list[int]()
    for behind in range(count - 1, -1, -1):
        low, high = max(1, total - behind * longest), min(longest, total - behind)
        parts.append(chooser.integer(low, high))
        total -= parts[-1]
    return parts


def _request(
    chooser: Chooser,
    scale: Scale,
    specialization: Specialization,
    query_lens: Sequence[int],
    req: int,
    before: Sequence[Request],
) -> Request:
    """A request of a step: padding, the one that the step before has in its place, grown, or another one."""
    query_len = query_lens[req]
    if query_len == 0:
        return Request(0, 0)
    drawn = draw_request(chooser, scale, specialization, query_len, req)
    if before and before[req].seq_len and chooser.boolean(33):
        return Request(query_len, min(before[req].seq_len + query_len, max(drawn.seq_len, before[req].seq_len)))
    return drawn
