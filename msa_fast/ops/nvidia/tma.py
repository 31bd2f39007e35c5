"""Copies of pages and queries to shared memory by tensor descriptor, and barriers, for kernels in Gluon."""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from msa_fast.ops.checks import is_tensor_copied
from msa_fast.ops.launch_table import architecture_of
from msa_ref.batch import PagedBatch

# Triton 3.6 and later releases have other names for these.
barrier = gl.thread_barrier if hasattr(gl, "thread_barrier") else gl.barrier
load_tile = tma.async_load if hasattr(tma, "async_load") else tma.async_copy_global_to_shared
_descriptor = gl.shared_memory_descriptor
reinterpreted = _descriptor._reinterpret if hasattr(_descriptor, "_reinterpret") else _descriptor.reinterpret


@gluon.jit
def fetch(keys, page, key, slot, ready, pages, is_there, S: gl.constexpr, D: gl.constexpr):
    """Start the copy of S keys of a page, from `key` on, to a slot of shared memory; then its barrier turns."""
    BYTES: gl.constexpr = pages.dtype.primitive_bitwidth // 8
    mbarrier.expect(ready.index(slot), S * D * BYTES, pred=is_there)
    load_tile(keys, [page, key, 0], ready.index(slot), pages.index(slot), pred=is_there)


def is_read_by_sm90(batch: PagedBatch) -> bool:
    """True if the Hopper scorers can read a batch: MiniMax-M3's own shape, on that architecture."""
    config, q = batch.config, batch.index_q
    has_shape = (config.index_head_dim, config.block_size) == (128, 128) and q.element_size() == 2
    has_shape &= batch.index_k_pages.dtype == q.dtype
    is_copied = q.stride(2) == 1 and is_tensor_copied(batch.index_k_pages)
    return has_shape and is_copied and architecture_of(batch.device) == "sm_90"


def pages_of(batch: PagedBatch, parts: int = 1) -> TensorDescriptor:
    """The tensor descriptor by which `fetch` copies pages, each in `parts` parts."""
    config = batch.config
    return _tiles(batch.index_k_pages, [1, config.block_size // parts, config.index_head_dim])


def queries_of(batch: PagedBatch, tokens: int, heads: int) -> TensorDescriptor:
    """The tensor descriptor for `tokens` x `heads` query tiles; missing heads read as 0."""
    return _tiles(batch.index_q, [tokens, heads, batch.config.index_head_dim])


def _tiles(rows: torch.Tensor, shape: list[int]) -> TensorDescriptor:
    """A tensor descriptor of tiles of a shape, laid out in shared memory as the matrix unit reads them."""
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=8 * rows.element_size(), rank=3)
    return TensorDescriptor.from_tensor(rows, shape, layout)
