"""The laws between runs: how the answers of one target to related batches are related.

They need no oracle and no lattice: the contract promises the same bits for every page placement,
batch composition, layout of the inputs and repeat, whatever the inputs are. Each law takes the target
as a callable and yields a violation for every row that breaks it. A target whose profile promises no
tie rule or no order promises less than these laws ask.

Laws about what one run writes, about split counts and about replays are asked by a harness that owns
the buffers: `fuzz.judge.run_laws` lists them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD
from msa_ref.contract import Violation, with_reqs
from msa_ref.magnitudes import lattice_unit
from msa_ref.transform import exchange_pages, poison, query_window, relabel_pages, take_requests

Run = Callable[[PagedBatch], torch.Tensor]
"""A target: a batch -> topk_idx [H, T, K] int32. It may return the same buffer every time."""

Related = tuple[str, PagedBatch, torch.Tensor | None]
"""A batch made from another: how, the batch, and which rows of the other's total_q its own are; None: the same."""


def page_relabel(batch: PagedBatch, run: Run, seed: int = 0) -> Iterator[Violation]:
    """The answer does not depend on which pages hold the blocks."""
    related = [
        ("on other pages", relabel_pages(batch, seed), None),
        ("with the keys of its pages exchanged", exchange_pages(batch), None),
    ]
    return _alike("PageRelabel", batch, run, related)


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
        negated = (-batch.query_format.values(batch.index_q)).to(batch.index_q.dtype)
        got = run(replace(batch, index_q=batch.index_q.where(is_head, negated)))
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

    Rows are left out where the scale itself may round: where scaled queries or any sum might leave the
    normal numbers of their dtype.
    """
    scale = 2.0**exponent
    queries = batch.query_format.values(batch.index_q).double()
    keys = batch.key_format.values(batch.index_k_pages[batch.live_slots()]).double().nan_to_num(0.0, 0.0, 0.0)
    scaled = (queries * scale).to(batch.index_q.dtype)
    is_same = (scaled.double() == queries * scale) | queries.isnan()
    queries = queries.nan_to_num(0.0, 0.0, 0.0)
    keys = torch.nn.functional.pad(keys, (0, 0, 0, 1))  # a key of zeros, for a batch without any
    low = lattice_unit(queries) * lattice_unit(keys).amin() * min(1.0, scale)
    high = queries.abs().sum(-1) * keys.abs().amax() * max(1.0, scale)
    is_safe = is_same.all(-1) & (low >= 2.0**-126) & (high < 2.0**127)
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
    """Memory that no token occupies does not matter: page tails, spare pages, block-table entries after the live ones.

    A target that follows a poisoned entry may take its process down: run it in one of its own.
    """
    related, largest = [], torch.iinfo(torch.int32).max
    for value, entry in ((torch.nan, -1), (torch.inf, largest), (-torch.inf, largest)):
        what = f"with {value} in dead key slots and {entry} in dead block-table entries"
        related.append((what, poison(batch, value, entry), None))
    return _alike("PoisonBlind", poison(batch, 0.0, 0), run, related)


def view_blind(batch: PagedBatch, run: Run) -> Iterator[Violation]:
    """Strides and offsets of the inputs do not matter: packed copies have the same answer."""
    names = ("index_q", "index_k_pages", "block_table", "seq_lens", "cu_seqlens_q")
    packed = {name: getattr(batch, name).clone(memory_format=torch.contiguous_format) for name in names}
    return _alike("ViewBlind", batch, run, [("with packed inputs", replace(batch, **packed), None)])


def repeat_determinism(batch: PagedBatch, run: Run, times: int = 3) -> Iterator[Violation]:
    """The same batch has the same answer every time."""
    return _alike("RepeatDeterminism", batch, run, ((f"in run {time}", batch, None) for time in range(2, times + 1)))


@dataclass(frozen=True)
class BatchLaw:
    """One law about one batch and one target.

    breaks: yields the violations; its docstring is the law.
    chapter: the page and the heading of the walk-through that explain it.
    """

    breaks: Callable[[PagedBatch, Run], Iterator[Violation]]
    chapter: str


BATCH_LAWS = {
    "PageRelabel": BatchLaw(page_relabel, "04-pages.md#4-pages"),
    "RequestPermutation": BatchLaw(request_permutation, "03-heads-and-tokens.md#requests"),
    "NeighbourIndependence": BatchLaw(neighbour_independence, "03-heads-and-tokens.md#requests"),
    "HeadIndependence": BatchLaw(head_independence, "03-heads-and-tokens.md#heads"),
    "ChunkedPrefill": BatchLaw(chunked_prefill, "03-heads-and-tokens.md#requests"),
    "DecodeIsLastPrefillRow": BatchLaw(decode_is_last_prefill_row, "03-heads-and-tokens.md#requests"),
    "PowerOfTwoScale": BatchLaw(power_of_two_scale, "01-one-query.md#tokens"),
    "AppendOne": BatchLaw(append_one, "03-heads-and-tokens.md#tokens"),
    "PoisonBlind": BatchLaw(poison_blind, "04-pages.md#4-pages"),
    "RepeatDeterminism": BatchLaw(repeat_determinism, "08-splitting-a-row.md#a-selection-can-be-merged"),
    "ViewBlind": BatchLaw(view_blind, "04-pages.md#what-a-kernel-may-touch"),
}
"""Name of each law between runs -> the law."""


def _of(run: Run, batch: PagedBatch) -> torch.Tensor:
    """The answer, safe from the next run into the same buffer."""
    return run(batch).clone()


def _last_tokens(batch: PagedBatch) -> tuple[PagedBatch, torch.Tensor]:
    """Each request's last query token alone, and which rows of total_q these are."""
    return query_window(batch, (batch.query_lens() - 1).clamp(min=0), batch.query_lens())


def _alike(law: str, batch: PagedBatch, run: Run, related: Iterable[Related]) -> Iterator[Violation]:
    """Batches made from `batch` have its answer."""
    expected = _of(run, batch)
    for what, other, rows in related:
        yield from _differing(law, batch, expected, _of(run, other), what, rows)


def _differing(
    law: str, batch: PagedBatch, expected: torch.Tensor, got: torch.Tensor, what: str, rows: torch.Tensor | None = None
) -> Iterator[Violation]:
    """One violation for every row whose bits differ. rows: which rows of `expected` those of `got` are."""
    rows = torch.arange(batch.total_q, device=batch.device) if rows is None else rows
    expected = expected[:, rows]
    for head, row in (got != expected).any(-1).nonzero().tolist():
        sentence = f"{what}: {got[head, row].tolist()}, not {expected[head, row].tolist()}"
        yield from with_reqs(batch, [Violation(law, sentence, head, int(rows[row]))])
