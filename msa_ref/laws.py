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

MARKER = -7_777_777
"""What an output holds before the run: neither an id nor PAD."""

INT32_MAX = 2**31 - 1


def page_relabel(batch: PagedBatch, run: Run, seed: int = 0) -> Iterator[Violation]:
    """The answer does not depend on which pages hold the blocks."""
    yield from _differing("PageRelabel", batch, _of(run, batch), _of(run, relabel_pages(batch, seed)), "on other pages")


def request_permutation(batch: PagedBatch, run: Run, seed: int = 0) -> Iterator[Violation]:
    """Requests in another order have the same answers, in that order."""
    order = torch.randperm(batch.num_reqs, generator=torch.Generator().manual_seed(seed)).tolist()
    permuted, rows = take_requests(batch, order)
    what = f"with requests in order {order}"
    yield from _differing("RequestPermutation", batch, _of(run, batch), _of(run, permuted), what, rows)


def neighbour_independence(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A request alone has the answer that it has in company."""
    together = _of(run, batch)
    for req in range(batch.num_reqs):
        alone, rows = take_requests(batch, [req])
        yield from _differing("NeighbourIndependence", batch, together, _of(run, alone), "alone", rows)


def head_independence(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A head's answer does not change when the queries of all other heads are negated."""
    whole = _of(run, batch)
    for head in range(batch.config.num_index_heads):
        index_q = -batch.index_q
        index_q[:, head] = batch.index_q[:, head]
        got = whole.clone()
        got[head] = run(replace(batch, index_q=index_q))[head]
        yield from _differing("HeadIndependence", batch, whole, got, "with all other heads negated")


def chunked_prefill(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A prefill in two chunks, the second half of every request's queries later, has the answer of the whole."""
    whole, query_lens = _of(run, batch), batch.query_lens()
    none, half = torch.zeros_like(query_lens), query_lens // 2
    for name, first, last in (("first", none, half), ("second", half, query_lens)):
        chunk, rows = query_window(batch, first, last)
        yield from _differing("ChunkedPrefill", batch, whole, _of(run, chunk), f"in the {name} chunk", rows)


def decode_is_last_prefill_row(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """A decode step of each request's last query token has the answer of its last prefill row."""
    query_lens = batch.query_lens()
    decode, rows = query_window(batch, (query_lens - 1).clamp(min=0), query_lens)
    yield from _differing("DecodeIsLastPrefillRow", batch, _of(run, batch), _of(run, decode), "as a decode step", rows)


def power_of_two_scale(batch: PagedBatch, run: Run, exponent: int = 1) -> Iterator[Violation]:
    """Queries times 2^exponent have the same answer: every product and partial sum just scales.

    Passed over are rows where the scale itself may round: where scaled queries or any sum might
    leave the normal numbers of their dtype.
    """
    scale = 2.0**exponent
    scaled = batch.index_q * scale
    keys = batch.index_k_pages[batch.live_slots()].double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    queries = batch.index_q.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    is_same = (scaled.double() == batch.index_q.double() * scale) | batch.index_q.isnan()
    if len(keys):
        least = lattice_unit(queries) * lattice_unit(keys).amin() * min(1.0, scale)
        most = queries.abs().sum(-1) * keys.abs().amax() * max(1.0, scale)
        is_safe = is_same.all(-1) & (least >= 2.0**-126) & (most < 2.0**127)
    else:
        is_safe = is_same.all(-1)
    whole, got = _of(run, batch), _of(run, replace(batch, index_q=scaled))
    got = torch.where(is_safe.T[..., None], got, whole)
    yield from _differing("PowerOfTwoScale", batch, whole, got, f"with queries times {scale:g}")


def append_one(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """Seeing one token more brings in no block but the one that holds it.

    Its block may take a slot, or gain one that the row did not fill before; forced and best blocks
    otherwise stay what they were. Each request's last query is asked with and without its last token.
    """
    query_lens = batch.query_lens()
    asked, rows = query_window(batch, (query_lens - 1).clamp(min=0), query_lens)
    is_asked = (query_lens > 0) & (asked.seq_lens > 0)
    after, kept = take_requests(asked, is_asked.nonzero().flatten().tolist())
    before = replace(after, seq_lens=after.seq_lens - 1)
    new, old = _of(run, after), _of(run, before)
    last_block = ((after.seq_lens.long() - 1) // batch.config.block_size)[:, None]
    is_old = (new[..., :, None] == old[..., None, :]).any(-1)
    is_strange = ~(is_old | (new == last_block) | (new == PAD))
    for head, req in is_strange.any(-1).nonzero().tolist():
        ids = new[head, req][is_strange[head, req]].tolist()
        sentence = f"a token appended to block {int(last_block[req])} brings in {ids}"
        token = int(rows[kept[req]])
        yield from with_reqs(batch, [Violation("AppendOne", head, token, sentence)])


def poison_blind(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """What no token occupies does not matter: page tails, spare pages, block-table entries behind the live ones.

    A target that follows a poisoned entry may take its process down: run it in one of its own.
    """
    clean = _of(run, poison(batch, 0.0, 0))
    for value, entry in ((torch.nan, -1), (torch.inf, INT32_MAX), (-torch.inf, INT32_MAX)):
        what = f"with {value} in dead key slots and {entry} in dead block-table entries"
        yield from _differing("PoisonBlind", batch, clean, _of(run, poison(batch, value, entry)), what)


def repeat_determinism(batch: PagedBatch, run: Run, times: int = 3) -> Iterator[Violation]:
    """The same batch has the same answer every time."""
    first = _of(run, batch)
    for time in range(2, times + 1):
        yield from _differing("RepeatDeterminism", batch, first, _of(run, batch), f"in run {time}")


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
    yield from _all_alike("SplitInvariance", batch, {f"{n} splits": run for n, run in runs.items()})


def tuning_invariance(batch: PagedBatch, runs: Mapping[str, Run]) -> Iterator[Violation]:
    """Every tuning choice has the same answer. runs: name of a choice -> the target with it."""
    yield from _all_alike("TuningInvariance", batch, {f"tuning {name}": run for name, run in runs.items()})


def writes_all(batch: PagedBatch, run_into: RunInto) -> Iterator[Violation]:
    """Every element of `out` is written, and what it held before does not matter."""
    shape = (batch.config.num_index_heads, batch.total_q, batch.config.topk_blocks)
    marked, stale = (torch.full(shape, fill, dtype=torch.int32, device=batch.device) for fill in (MARKER, 0))
    run_into(batch, marked)
    run_into(batch, stale)
    for head, token in (marked == MARKER).any(-1).nonzero().tolist():
        slots = (marked[head, token] == MARKER).nonzero().flatten().tolist()
        yield from with_reqs(batch, [Violation("WritesAll", head, token, f"slots {slots} are not written")])
    is_written = (marked != MARKER).all(-1, keepdim=True)
    stale = torch.where(is_written, stale, marked)
    yield from _differing("WritesAll", batch, marked, stale, "over an output that held zeros")


def writes_only(batch: PagedBatch, run_into: RunInto) -> Iterator[Violation]:
    """Nothing outside `out` is written, and where `out` lies does not matter.

    `out` is a view into a larger buffer, with spare heads, rows and slots on every side. Head and
    token of a violation count from the view, so they may be negative or past its end.
    """
    heads, tokens, slots = batch.config.num_index_heads, batch.total_q, batch.config.topk_blocks
    before = (1, 2, 3)
    size = (heads + 2, tokens + 5, slots + 7)
    buffer = torch.full(size, MARKER, dtype=torch.int32, device=batch.device)
    inside = tuple(slice(skip, skip + n) for skip, n in zip(before, (heads, tokens, slots), strict=True))
    run_into(batch, buffer[inside])
    packed = torch.full((heads, tokens, slots), MARKER, dtype=torch.int32, device=batch.device)
    run_into(batch, packed)
    yield from _differing("WritesOnly", batch, packed, buffer[inside].clone(), "in a view of a larger buffer")

    buffer[inside] = MARKER
    is_touched = buffer != MARKER
    for head, token in is_touched.any(-1).nonzero().tolist():
        slot = int(is_touched[head, token].nonzero()[0])
        at = [index - skip for index, skip in zip((head, token, slot), before, strict=True)]
        sentence = f"writes {int(buffer[head, token, slot])} at out[{at[0]}, {at[1]}, {at[2]}], outside of it"
        yield Violation("WritesOnly", at[0], at[1], sentence)


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


def _all_alike(law: str, batch: PagedBatch, runs: Mapping[str, Run]) -> Iterator[Violation]:
    answers = ((choice, _of(run, batch)) for choice, run in runs.items())
    first, expected = next(answers)
    for choice, got in answers:
        yield from _differing(law, batch, expected, got, f"with {choice}, against {first}")


def _differing(
    law: str,
    batch: PagedBatch,
    expected: torch.Tensor,
    got: torch.Tensor,
    what: str,
    rows: torch.Tensor | None = None,
) -> Iterator[Violation]:
    """One violation for every row whose bits differ. rows: which rows of `expected` those of `got` are."""
    if rows is None:
        rows = torch.arange(batch.total_q, device=batch.device)
    expected = expected[:, rows]
    differs = (got != expected).any(-1)
    found = (
        Violation(law, head, int(rows[row]), f"{what}: {got[head, row].tolist()}, not {expected[head, row].tolist()}")
        for head, row in differs.nonzero().tolist()
    )
    yield from with_reqs(batch, found)
