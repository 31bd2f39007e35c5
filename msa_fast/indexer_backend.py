"""The base class of the indexer's backend in an engine: its cache of keys, and the classes that serve it."""

from typing import TYPE_CHECKING, ClassVar

import torch

from msa_fast.ops.checks import MAX_TILE, MIN_TILE, QUERY_DTYPES, check_config
from msa_ref.config import IndexerConfig, require
from msa_ref.formats import ELEMENTS, ElementFormat

if TYPE_CHECKING:
    from msa_fast.indexer import MiniMaxM3IndexerImpl, MiniMaxM3IndexerMetadataBuilder


class MiniMaxM3IndexerBackend:
    """The properties of the indexer's side cache: keys alone, one key head, a page per block."""

    supported_dtypes: ClassVar[tuple[torch.dtype, ...]] = QUERY_DTYPES
    """Torch dtypes of index queries."""
    kv_formats: ClassVar[dict[str, ElementFormat]] = {
        "auto": ELEMENTS["bfloat16"],
        "bf16": ELEMENTS["bfloat16"],
        "fp8": ELEMENTS["float8_e4m3fn"],
        "fp8_e4m3": ELEMENTS["float8_e4m3fn"],
        "nvfp4": ELEMENTS["nvfp4"],
    }
    """An engine's `indexer_kv_dtype` -> the format of index keys. NVFP4 keys take e4m3 queries alone."""

    @staticmethod
    def get_name() -> str:
        """The name an engine lists the backend under."""
        return "MINIMAX_M3_INDEXER"

    @staticmethod
    def get_builder_cls() -> type["MiniMaxM3IndexerMetadataBuilder"]:
        """The builder of this backend's metadata."""
        raise NotImplementedError

    @staticmethod
    def get_impl_cls() -> type["MiniMaxM3IndexerImpl"]:
        """The impl of this backend."""
        raise NotImplementedError

    @staticmethod
    def get_supported_head_sizes() -> list[int]:
        """Index head dims that the kernels tile; MiniMax-M3 has 128."""
        return [size for size in range(MIN_TILE, MAX_TILE + 1) if size & (size - 1) == 0]

    @staticmethod
    def get_supported_kernel_block_sizes() -> list[int]:
        """Tokens per block, which is also per page; MiniMax-M3 has 128."""
        return MiniMaxM3IndexerBackend.get_supported_head_sizes()

    @staticmethod
    def get_kv_cache_dtype(indexer_kv_dtype: str = "auto") -> torch.dtype:
        """The torch dtype of `index_k_pages` for an engine's `indexer_kv_dtype`; bytes for NVFP4.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        return _kv_format(indexer_kv_dtype).dtype

    @staticmethod
    def get_kv_cache_shape(
        num_blocks: int, block_size: int, num_kv_heads: int, head_size: int, indexer_kv_dtype: str = "auto"
    ) -> tuple[int, int, int]:
        """Shape of `index_k_pages`: [num_pages, S, D], or [num_pages, S, D/2 + D/16] for NVFP4. Any strides will do.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        require(num_kv_heads == 1, "num_kv_heads", "must be 1: all index heads share one key head", num_kv_heads)
        check_config(IndexerConfig(block_size=block_size, index_head_dim=head_size))
        return (num_blocks, block_size, _kv_format(indexer_kv_dtype).row_len(head_size))


def _kv_format(indexer_kv_dtype: str) -> ElementFormat:
    known = MiniMaxM3IndexerBackend.kv_formats
    rule = f"must be one of {', '.join(known)}"
    require(indexer_kv_dtype in known, "indexer_kv_dtype", rule, repr(indexer_kv_dtype))
    return known[indexer_kv_dtype]
