"""The specification of the MSA block indexer: obvious before fast, torch only, CPU or GPU."""

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD, IndexerConfig
from msa_ref.indexer import index_topk
from msa_ref.score import block_scores
from msa_ref.select import forced_mask, select_blocks

__all__ = ["PAD", "IndexerConfig", "PagedBatch", "block_scores", "forced_mask", "index_topk", "select_blocks"]
