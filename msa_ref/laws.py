"""The laws between runs: how the answers of one target to related batches are related.

They need no oracle and no lattice: the contract promises the same bits for every page placement,
batch composition, split count, tuning choice, repeat and replay, whatever the inputs are. Each law
takes the target as a callable and yields a violation for every row that breaks it. A target
whose profile promises no tie rule or no order promises less than these laws ask.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD
from msa_ref.contract import Violation, with_reqs
from msa_ref.precision import lattice_unit
from msa_ref.transform import poison, query_window, relabel_pages, take_requests

Run = Callable[[PagedBatch], torch.Tensor]
"""A target: a batch -> topk_idx [H, T, K] int32. It may return the same buffer every time."""

RunInto = Callable[[PagedBatch, torch.Tensor], object]
"""A target that writes: a batch and out [H, T, K] int32 of any strides. What it returns is ignored."""

Related = tuple[str, PagedBatch, torch.Tensor | None]
"""A batch made from another: how, the batch, and which rows of the other's total_q its own are; None: the same."""

MARKER = -7_777_777
"""What an output holds before the run: neither an id nor PAD."""

INT32_MAX = 2**31 - 1


def page_relabel(batch: PagedBatch, run: Run, seed: int = 0) -> Iterator[Violation]:
    """The answer does not depend on which pages hold the blocks."""
    return _alike("PageRelabel", batch, run, [("on other pages", relabel_pages(batch, seed), None)])


def request_permutation(batch: PagedBatch, run: Run, seed: int = 0) -> Iterator[Violation]:
    """Requests in another order have the same answers, in that order."""
    order = torch.randperm(batch.num_reqs, generator=torch.Generator().manual_seed(seed)).tolist()
    related = [(f"with requests in order {order}", *take_requests(batch, order))]
    return _alike("RequestPermutation", batch, run, related)


def neighbour_independence(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A request alone has the answer that it has in company."""
    related = (("alone", *take_requests(batch, [req])) for req in range(batch.num_reqs))
    return _alike("NeighbourIndependence", batch, run, related)


def head_independence(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A head's answer does not change when the queries of all other heads are negated."""
    whole = _of(run, batch)
    for head in range(batch.config.num_index_heads):
        is_head = torch.arange(batch.config.num_index_heads, device=batch.device)[:, None] == head
        got = run(replace(batch, index_q=batch.index_q.where(is_head, -batch.index_q)))
        got = got.where(is_head[..., None], whole)
        yield from _differing("HeadIndependence", batch, whole, got, "with all other heads negated")


def chunked_prefill(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A prefill in two chunks, the second half of every request's queries later, has the answer of the whole."""
    query_lens = batch.query_lens()
    none, half = torch.zeros_like(query_lens), query_lens // 2
    chunks = (("first", none, half), ("second", half, query_lens))
    related = ((f"in the {name} chunk", *query_window(batch, first, last)) for name, first, last in chunks)
    return _alike("ChunkedPrefill", batch, run, related)


def decode_is_last_prefill_row(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A decode step of each request's last query token has the answer of its last prefill row."""
    return _alike("DecodeIsLastPrefillRow", batch, run, [("as a decode step", *_last_tokens(batch))])


def power_of_two_scale(batch: PagedBatch, run: Run, exponent: int = 1) -> Iterator[Violation]:
    """Queries times 2^exponent have the same answer: every product and partial sum just scales.

    Passed over are rows where the scale itself may round: where scaled queries or any sum might
    leave the normal numbers of their dtype.
    """
    scale = 2.0**exponent
    scaled = batch.index_q * scale
    is_same = (scaled.double() == batch.index_q.double() * scale) | batch.index_q.isnan()
    live_keys = batch.index_k_pages[batch.live_slots()]
    queries, keys = (values.double().nan_to_num(0.0, 0.0, 0.0) for values in (batch.index_q, live_keys))
    keys = torch.nn.functional.pad(keys, (0, 0, 0, 1))  # a key of zeros, for a batch without any
    least = lattice_unit(queries) * lattice_unit(keys).amin() * min(1.0, scale)
    most = queries.abs().sum(-1) * keys.abs().amax() * max(1.0, scale)
    is_safe = is_same.all(-1) & (least >= 2.0**-126) & (most < 2.0**127)
    whole, got = _of(run, batch), _of(run, replace(batch, index_q=scaled))
    got = got.where(is_safe.T[..., None], whole)
    yield from _differing("PowerOfTwoScale", batch, whole, got, f"with queries times {scale:g}")


def append_one(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """Seeing one token more brings in no block but the one that holds it.

    Its block may take a slot, or gain one that the row did not fill before; forced and best blocks
    otherwise stay what they were. Each request's last query is asked with and without its last token.
    """
    asked, rows = _last_tokens(batch)
    is_asked = (batch.query_lens() > 0) & (asked.seq_lens > 0)
    after, kept = take_requests(asked, is_asked.nonzero().flatten().tolist())
    new, old = _of(run, after), _of(run, replace(after, seq_lens=after.seq_lens - 1))
    last_block = after.config.num_blocks(after.seq_lens)[:, None] - 1
    is_old = (new[..., :, None] == old[..., None, :]).any(-1)
    is_strange = ~(is_old | (new == last_block) | (new == PAD))
    for head, req in is_strange.any(-1).nonzero().tolist():
        ids = new[head, req][is_strange[head, req]].tolist()
        sentence = f"a token appended to block {int(last_block[req])} brings in {ids}"
        yield from with_reqs(batch, [Violation("AppendOne", sentence, head, int(rows[kept[req]]))])


def poison_blind(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """What no token occupies does not matter: page tails, spare pages, block-table entries behind the live ones.

    A target that follows a poisoned entry may take its process down: run it in one of its own.
    """
    related = []
    for value, entry in ((torch.nan, -1), (torch.inf, INT32_MAX), (-torch.inf, INT32_MAX)):
        what = f"with {value} in dead key slots and {entry} in dead block-table entries"
        related.append((what, poison(batch, value, entry), None))
    return _alike("PoisonBlind", poison(batch, 0.0, 0), run, related)


def repeat_determinism(batch: PagedBatch, run: Run, times: int = 3) -> Iterator[Violation]:
    """The same batch has the same answer every time."""
    return _alike("RepeatDeterminism", batch, run, ((f"in run {time}", batch, None) for time in range(2, times + 1)))


BATCH_LAWS: dict[str, Callable[[PagedBatch, Run], Iterator[Violation]]] = {
    "PageRelabel": page_relabel,
    "RequestPermutation": request_permutation,
    "NeighbourIndependence": neighbour_independence,
    "HeadIndependence": head_independence,
    "ChunkedPrefill": chunked_prefill,
    "DecodeIsLastPrefillRow": decode_is_last_prefill_row,
    "PowerOfTwoScale": power_of_two_scale,
    "AppendOne": append_one,
    "PoisonBlind": poison_blind,
    "RepeatDeterminism": repeat_determinism,
}
"""Name of each law that asks for one batch and one target. The docstring of each is the law."""


def split_invariance(batch: PagedBatch, runs: Mapping[int, Run]) -> Iterator[Violation]:
    """Every split count has the same answer. runs: number of splits -> the target with that many."""
    return _all_alike("SplitInvariance", batch, {f"{n} splits": run for n, run in runs.items()})


def tuning_invariance(batch: PagedBatch, runs: Mapping[str, Run]) -> Iterator[Violation]:
    """Every tuning choice has the same answer. runs: name of a choice -> the target with it."""
    return _all_alike("TuningInvariance", batch, {f"tuning {name}": run for name, run in runs.items()})


def writes_all(batch: PagedBatch, run_into: RunInto) -> Iterator[Violation]:
    """Every element of `out` is written, and what it held before does not matter."""
    marked, stale = _output(batch, MARKER), _output(batch, 0)
    run_into(batch, marked)
    run_into(batch, stale)
    is_unwritten = marked == MARKER
    for head, token in is_unwritten.any(-1).nonzero().tolist():
        slots = is_unwritten[head, token].nonzero().flatten().tolist()
        yield from with_reqs(batch, [Violation("WritesAll", f"slots {slots} are not written", head, token)])
    stale = torch.where(is_unwritten.any(-1, keepdim=True), marked, stale)
    yield from _differing("WritesAll", batch, marked, stale, "over an output that held zeros")


def writes_only(batch: PagedBatch, run_into: RunInto) -> Iterator[Violation]:
    """Nothing outside `out` is written, and where `out` lies does not matter.

    `out` is a view into a larger buffer, with spare heads, rows and slots on every side. Head and
    token of a violation count from the view, so they may be negative or past its end.
    """
    packed = _output(batch, MARKER)
    buffer = torch.nn.functional.pad(packed, (3, 4, 2, 3, 1, 1), value=MARKER)
    inside = buffer[1:-1, 2:-3, 3:-4]
    run_into(batch, inside)
    run_into(batch, packed)
    yield from _differing("WritesOnly", batch, packed, inside.clone(), "in a view of a larger buffer")

    inside.fill_(MARKER)
    for head, token in (buffer != MARKER).any(-1).nonzero().tolist():
        slot = int((buffer[head, token] != MARKER).nonzero()[0])
        at = f"out[{head - 1}, {token - 2}, {slot - 3}]"
        sentence = f"writes {int(buffer[head, token, slot])} at {at}, outside of it"
        yield Violation("WritesOnly", sentence, head - 1, token - 2)


def replay(batches: Iterable[PagedBatch], eager: Run, replayed: Run) -> Iterator[Violation]:
    """Replaying a captured run on new inputs has the answer of an eager run on them, whatever came before.

    Args:
        batches: what is replayed, in order: growing, shrinking, on other pages.
        eager: the target run afresh on a batch.
        replayed: the captured target with the batch copied into its static inputs; keeps its state.
    """
    for step, batch in enumerate(batches):
        yield from _differing("Replay", batch, _of(eager, batch), _of(replayed, batch), f"at replay {step}")


def _of(run: Run, batch: PagedBatch) -> torch.Tensor:
    """The answer, safe from the next run into the same buffer."""
    return run(batch).clone()


def _output(batch: PagedBatch, fill: int) -> torch.Tensor:
    """An output [H, T, K] to write into."""
    shape = (batch.config.num_index_heads, batch.total_q, batch.config.topk_blocks)
    return torch.full(shape, fill, dtype=torch.int32, device=batch.device)


def _last_tokens(batch: PagedBatch) -> tuple[PagedBatch, torch.Tensor]:
    """Each request's last query token alone, and which rows of total_q these are."""
    return query_window(batch, (batch.query_lens() - 1).clamp(min=0), batch.query_lens())


def _alike(law: str, batch: PagedBatch, run: Run, related: Iterable[Related]) -> Iterator[Violation]:
    """Batches made from `batch` have its answer."""
    expected = _of(run, batch)
    for what, other, rows in related:
        yield from _differing(law, batch, expected, _of(run, other), what, rows)


def _all_alike(law: str, batch: PagedBatch, runs: Mapping[str, Run]) -> Iterator[Violation]:
    """Targets have the answer of the first of them."""
    (first, run), *others = runs.items()
    expected = _of(run, batch)
    for choice, run in others:
        yield from _differing(law, batch, expected, _of(run, batch), f"with {choice}, against {first}")


def _differing(
    law: str, batch: PagedBatch, expected: torch.Tensor, got: torch.Tensor, what: str, rows: torch.Tensor | None = None
) -> Iterator[Violation]:
    """One violation for every row whose bits differ. rows: which rows of `expected` those of `got` are."""
    rows = torch.arange(batch.total_q, device=batch.device) if rows is None else rows
    expected = expected[:, rows]
    for head, row in (got != expected).any(-1).nonzero().tolist():
        sentence = f"{what}: {got[head, row].tolist()}, not {expected[head, row].tolist()}"
        yield from with_reqs(batch, [Violation(law, sentence, head, int(rows[row]))])
