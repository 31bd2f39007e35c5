"""Kernels for the MSA block indexer: written for Blackwell, run wherever Triton runs."""

from msa_fast.attention_metadata import CommonAttentionMetadata
from msa_fast.graph import DecodeGraph
from msa_fast.indexer_msa import (
    MiniMaxM3IndexerMSABackend,
    MiniMaxM3IndexerMSAImpl,
    MiniMaxM3IndexerMSAMetadata,
    MiniMaxM3IndexerMSAMetadataBuilder,
    MiniMaxM3IndexerMSAPrefillMetadata,
)
from msa_fast.ops.bound import DecodeLaunch, PrefillLaunch
from msa_fast.ops.decode import minimax_m3_index_decode, minimax_m3_index_decode_with_score
from msa_fast.ops.decode_topk import minimax_m3_index_decode_topk
from msa_fast.ops.device_plan import plan_on_device
from msa_fast.ops.prefill import minimax_m3_index_prefill
from msa_fast.ops.prefill_plan import PrefillPlan
from msa_fast.ops.score import minimax_m3_index_score
from msa_fast.ops.topk import minimax_m3_index_topk

__all__ = [
    "CommonAttentionMetadata",
    "DecodeGraph",
    "DecodeLaunch",
    "MiniMaxM3IndexerMSABackend",
    "MiniMaxM3IndexerMSAImpl",
    "MiniMaxM3IndexerMSAMetadata",
    "MiniMaxM3IndexerMSAMetadataBuilder",
    "MiniMaxM3IndexerMSAPrefillMetadata",
    "PrefillLaunch",
    "PrefillPlan",
    "minimax_m3_index_decode",
    "minimax_m3_index_decode_topk",
    "minimax_m3_index_decode_with_score",
    "minimax_m3_index_prefill",
    "minimax_m3_index_score",
    "minimax_m3_index_topk",
    "plan_on_device",
]
