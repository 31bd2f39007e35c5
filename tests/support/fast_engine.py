"""A serving engine reduced to what the indexer sees of it: requests that grow on pages of one cache.

Every page that no request owns and every page tail hold NaN, and every block-table entry behind a
request's blocks holds an impossible page, or `dead_entry`. Keys and queries are small integers, so that the kernels'
answers must equal the reference bit for bit.
"""

import random
from dataclasses import dataclass

import torch

from msa_fast.attention_metadata import CommonAttentionMetadata
from msa_ref import IndexerConfig, PagedBatch

NO_PAGE = 2**31 - 1


@dataclass(eq=False)
class Request:
    seq_len: int
    pages: list[int]


class Engine:
    """Requests, their pages and the key cache of one layer.

    A step is a list of (request, query_len); `grow` writes its keys, `common` describes it to the
    indexer and `batch` to the reference.
    """

    def __init__(
        self,
        config: IndexerConfig,
        device: str,
        max_blocks: int,
        num_pages: int,
        seed: int = 0,
        dtype: torch.dtype = torch.bfloat16,
        dead_entry: int = NO_PAGE,
    ) -> None:
        self.config, self.device, self.max_blocks, self.dtype = config, device, max_blocks, dtype
        self.dead_entry = dead_entry
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        shape = (num_pages, config.block_size, config.index_head_dim)
        self.index_k_pages = torch.full(shape, torch.nan, dtype=dtype, device=device)
        self.free_pages = list(range(num_pages))
        self.rng.shuffle(self.free_pages)
        self.requests: list[Request] = []

    def values(self, *shape: int) -> torch.Tensor:
        """Integers from -4 to 4: every dot product is exact, and ties are many."""
        return torch.randint(-4, 5, shape, generator=self.generator).to(self.device, self.dtype)

    def queries(self, num_tokens: int) -> torch.Tensor:
        return self.values(num_tokens, self.config.num_index_heads, self.config.index_head_dim)

    def start(self, seq_len: int = 0) -> Request:
        """A new request with a context of `seq_len` tokens."""
        request = Request(0, [])
        self.requests.append(request)
        self.grow([(request, seq_len)])
        return request

    def room(self, request: Request) -> int:
        """Tokens that the request can still take."""
        blocks = min(self.max_blocks, len(request.pages) + len(self.free_pages))
        return blocks * self.config.block_size - request.seq_len

    def grow(self, step: list[tuple[Request, int]]) -> torch.Tensor:
        """Append each request's new tokens: write their keys through the slot mapping, which is returned."""
        slots = []
        for request, query_len in step:
            for pos in range(request.seq_len, request.seq_len + query_len):
                block, offset = divmod(pos, self.config.block_size)
                if block == len(request.pages):
                    request.pages.append(self.free_pages.pop())
                slots.append(request.pages[block] * self.config.block_size + offset)
            request.seq_len += query_len
        slot_mapping = torch.tensor(slots, dtype=torch.int64).to(self.device)
        page, offset = slot_mapping // self.config.block_size, slot_mapping % self.config.block_size
        self.index_k_pages[page, offset] = self.values(len(slots), self.config.index_head_dim)
        return slot_mapping

    def finish(self, request: Request) -> None:
        """The request leaves; its pages hold NaN at once."""
        self.requests.remove(request)
        self.index_k_pages[request.pages] = torch.nan
        self.free_pages += request.pages
        self.rng.shuffle(self.free_pages)

    def move(self, request: Request, block: int) -> None:
        """One block goes to another page; the old page holds NaN at once."""
        old, new = request.pages[block], self.free_pages.pop(0)
        self.index_k_pages[new] = self.index_k_pages[old]
        self.index_k_pages[old] = torch.nan
        request.pages[block] = new
        self.free_pages.append(old)

    def block_table(self, requests: list[Request]) -> torch.Tensor:
        """[B, max_blocks] int32, a new tensor at every call, rows in the order of `requests`."""
        rows = [request.pages + [self.dead_entry] * (self.max_blocks - len(request.pages)) for request in requests]
        return torch.tensor(rows, dtype=torch.int32).reshape(-1, self.max_blocks).to(self.device)

    def common(
        self, step: list[tuple[Request, int]], slot_mapping: torch.Tensor | None = None
    ) -> CommonAttentionMetadata:
        requests = [request for request, _ in step]
        seq_lens = [request.seq_len for request in requests]
        return CommonAttentionMetadata.from_lens(
            [query_len for _, query_len in step], seq_lens, self.block_table(requests), slot_mapping
        )

    def batch(self, step: list[tuple[Request, int]], index_query: torch.Tensor) -> PagedBatch:
        """The same step for the reference, from the host's own books."""
        requests = [request for request, _ in step]
        cu_seqlens_q = [sum(query_len for _, query_len in step[:req]) for req in range(len(step) + 1)]
        return PagedBatch(
            self.config,
            index_query[: cu_seqlens_q[-1]],
            self.index_k_pages,
            self.block_table(requests),
            torch.tensor([request.seq_len for request in requests], dtype=torch.int32).to(self.device),
            torch.tensor(cu_seqlens_q, dtype=torch.int32).to(self.device),
        )
