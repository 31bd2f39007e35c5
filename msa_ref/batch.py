"""One paged, variable-length batch: the inputs of one indexer call."""

from dataclasses import dataclass

import torch

from msa_ref.config import IndexerConfig, require
from msa_ref.formats import ElementFormat, format_of, format_pair

EVERY_ROW = slice(None)
"""All rows of total_q: the default of methods that also take some of them."""


@dataclass(frozen=True, eq=False)
class PagedBatch:
    """The inputs of one call. T = total_q, H, D, S, B = num_reqs.

    index_q: [T, H, D] in a format of `msa_ref.formats`, any strides.
    index_k_pages: [num_pages, S, D], any strides; in NVFP4 [num_pages, S, D/2 + D/16] bytes. A page holds one block.
        Its format is that of `index_q` or one that is deployed beside it, see `FORMAT_PAIRS`.
    block_table: [B, max_blocks] int32, any strides. Page of each logical block; entries after a
        request's live blocks may hold anything.
    seq_lens: [B] int32, tokens of context plus this step's queries. 0 marks a graph padding row.
    cu_seqlens_q: [B + 1] int32, running sum of the query lengths: 0 first, T last.

    Ranks, shapes, dtypes and devices are checked here, without looking at a value on the device;
    `validate` looks at the values.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """

    config: IndexerConfig
    index_q: torch.Tensor
    index_k_pages: torch.Tensor
    block_table: torch.Tensor
    seq_lens: torch.Tensor
    cu_seqlens_q: torch.Tensor

    def __post_init__(self) -> None:
        config = self.config
        require(isinstance(config, IndexerConfig), "config", "must be an IndexerConfig", type(config).__name__)
        for name, axes in _AXES.items():
            value = getattr(self, name)
            require(isinstance(value, torch.Tensor), name, "must be a tensor", type(value).__name__)
            require(value.ndim == len(axes), name, f"must be [{', '.join(axes)}]", f"shape {list(value.shape)}")
            require(value.device == self.device, name, f"must be on index_q's device, {self.device}", value.device)
        for name in ("block_table", "seq_lens", "cu_seqlens_q"):
            dtype = getattr(self, name).dtype
            require(dtype == torch.int32, name, "must be int32", dtype)
        _, keys = format_pair(self.index_q.dtype, self.index_k_pages.dtype)
        all_axes = _AXES
        known = {"num_reqs": self.num_reqs, "num_reqs + 1": self.num_reqs + 1, **vars(config)}
        if keys.group > 1:
            rule = f"must be a multiple of {keys.group} for {keys.short_name} keys"
            require(config.index_head_dim % keys.group == 0, "index_head_dim", rule, config.index_head_dim)
            all_axes = {**_AXES, "index_k_pages": ("num_pages", "block_size", "bytes of a key")}
            known["bytes of a key"] = keys.row_len(config.index_head_dim)
        for name, axes in all_axes.items():
            for axis, (what, size) in enumerate(zip(axes, getattr(self, name).shape, strict=True)):
                wanted = known.get(what, size)
                require(size == wanted, name, f"must have {what} = {wanted} on axis {axis}", size)

    @property
    def num_reqs(self) -> int:
        """B, requests in the batch, padding rows included."""
        return len(self.seq_lens)

    @property
    def total_q(self) -> int:
        """T, query tokens of all requests."""
        return len(self.index_q)

    @property
    def max_blocks(self) -> int:
        """Width of the block table."""
        return self.block_table.shape[1]

    @property
    def num_pages(self) -> int:
        """Pages in the key cache."""
        return len(self.index_k_pages)

    @property
    def query_format(self) -> ElementFormat:
        """The element format of `index_q`."""
        return format_of(self.index_q.dtype)

    @property
    def key_format(self) -> ElementFormat:
        """The element format of `index_k_pages`."""
        return format_of(self.index_k_pages.dtype)

    @property
    def device(self) -> torch.device:
        """The device of every tensor of the batch."""
        return self.index_q.device

    def query_lens(self) -> torch.Tensor:
        """[B] int64, query tokens of each request. Stays on the device."""
        return self.cu_seqlens_q.long().diff()

    def _tokens(self, rows: slice = EVERY_ROW) -> torch.Tensor:
        """[T] int32, the row of total_q of each query token. Here and below `rows` limits the answer to some."""
        return torch.arange(*rows.indices(self.total_q), dtype=torch.int32, device=self.device)

    def token_reqs(self, rows: slice = EVERY_ROW) -> torch.Tensor:
        """[T] int64, the request of each query token: the first that ends after it; the last for padding."""
        reqs = torch.searchsorted(self.cu_seqlens_q[1:].contiguous(), self._tokens(rows), right=True)
        return reqs.clamp(max=max(0, self.num_reqs - 1))

    def visible_lens(self, rows: slice = EVERY_ROW) -> torch.Tensor:
        """[T] int64, tokens that each query token sees: itself and all before it.

        Query token i of a request sees max(0, seq_len - query_len + i + 1) tokens: all but the
        query_len - i - 1 after it. Padding, after the last request's tokens, sees nothing.
        """
        reqs = self.token_reqs(rows)
        num_behind = self.cu_seqlens_q[1:].long()[reqs] - 1 - self._tokens(rows)
        return (self.seq_lens.long()[reqs] - num_behind).clamp(min=0).where(num_behind >= 0, 0)

    def num_visible_blocks(self) -> torch.Tensor:
        """[T] int64, blocks that hold the visible tokens of each query token."""
        return self.config.num_blocks(self.visible_lens())

    def max_visible_blocks(self) -> int:
        """The greatest number of blocks that any query token sees; 0 for no token. Synchronizes."""
        return max(self.num_visible_blocks().tolist(), default=0)

    def live_slots(self) -> torch.Tensor:
        """[num_pages, S] bool, the key slots that hold a token of some request. Synchronizes.

        Only these may matter to a kernel: the other slots, and block-table entries after the blocks of a
        request, may hold anything.
        """
        is_live = torch.zeros(self.num_pages, self.config.block_size, dtype=torch.bool, device=self.device)
        for req, seq_len in enumerate(self.seq_lens.tolist()):
            pos = torch.arange(seq_len, device=self.device)
            pages = self.block_table[req][pos // self.config.block_size].long()
            is_live[pages, pos % self.config.block_size] = True
        return is_live

    def validate(self) -> "PagedBatch":
        """Check the values on the device, which no kernel does. Synchronizes. Returns the batch.

        Raises:
            ValueError: if lengths contradict each other, or a live block has no page.
        """
        first, last = self.cu_seqlens_q[[0, -1]].tolist()
        require(first == 0, "cu_seqlens_q", "must start at 0", first)
        require(last == self.total_q, "cu_seqlens_q", f"must end at total_q = {self.total_q}", last)
        for req, query_len in enumerate(self.query_lens().tolist()):
            require(query_len >= 0, "cu_seqlens_q", "must never fall", f"a step of {query_len} at request {req}")
        for req, (seq_len, table) in enumerate(zip(self.seq_lens.tolist(), self.block_table.cpu(), strict=True)):
            require(seq_len >= 0, "seq_lens", "must be >= 0", f"{seq_len} at request {req}")
            num_blocks = self.config.num_blocks(seq_len)
            rule = f"must have a column for each of the {num_blocks} blocks of request {req}"
            require(num_blocks <= self.max_blocks, "block_table", rule, f"max_blocks = {self.max_blocks}")
            pages, rule = table[:num_blocks], f"must hold page ids below num_pages = {self.num_pages}"
            for block in ((pages < 0) | (pages >= self.num_pages)).nonzero().flatten().tolist():
                require(False, "block_table", rule, f"{int(pages[block])} at request {req}, block {block}")
        return self


_AXES = {
    "index_q": ("total_q", "num_index_heads", "index_head_dim"),
    "index_k_pages": ("num_pages", "block_size", "index_head_dim"),
    "block_table": ("num_reqs", "max_blocks"),
    "seq_lens": ("num_reqs",),
    "cu_seqlens_q": ("num_reqs + 1",),
}
