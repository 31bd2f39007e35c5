"""The MSA indexer: the five classes that `vllm.models.minimax_m3.nvidia.indexer_msa` documents.

`MiniMaxM3IndexerMSABackend` names the builder and the impl; the builder turns a step into
`MiniMaxM3IndexerMSAMetadata`, whose prefill side is a `MiniMaxM3IndexerMSAPrefillMetadata`; the
impl runs decode (one capturable score + selection) and prefill (scores, then selection).

An engine allocates a paged key cache, a `topk_indices_buffer` and a builder, once:

>>> import torch
>>> from msa_fast.graph import DecodeGraph
>>> from msa_fast.attention_metadata import CommonAttentionMetadata
>>> from msa_fast.indexer_msa import MiniMaxM3IndexerMSABackend as Backend
>>> from msa_ref.config import IndexerConfig
>>> device = "cuda" if torch.cuda.is_available() else "cpu"
>>> config = IndexerConfig(num_index_heads=2, index_head_dim=16, block_size=16, topk_blocks=3)
>>> shape = Backend.get_kv_cache_shape(num_blocks=32, block_size=16, num_kv_heads=1, head_size=16)
>>> index_k_pages = torch.zeros(shape, dtype=torch.bfloat16, device=device)
>>> topk_indices_buffer = torch.empty(2, 64, 3, dtype=torch.int32, device=device)
>>> impl = Backend.get_impl_cls()(config, topk_indices_buffer)
>>> builder = Backend.get_builder_cls()(config, device, max_num_reqs=4, max_model_len=256)

Request 0 has 100 tokens and request 1 has 40, on pages dealt from a pool. Their keys go where a
slot mapping says: page * block_size + offset. All keys are 0 but one token of each request's block 2:

>>> block_table = torch.arange(31, -1, -1, dtype=torch.int32, device=device).reshape(2, 16)
>>> def write_keys(keys, slot_mapping):
...     index_k_pages[slot_mapping // 16, slot_mapping % 16] = keys
>>> slot_mapping = block_table[:, 2].long() * 16 + 5
>>> write_keys(torch.ones(2, 16, dtype=torch.bfloat16, device=device), slot_mapping)

A decode step: one new token each. On a GPU it is captured once, at the greatest length, and replayed:

>>> index_query = torch.ones(64, 2, 16, dtype=torch.bfloat16, device=device)
>>> step = CommonAttentionMetadata.from_lens([1, 1], [100, 40], block_table)
>>> if device == "cuda":
...     graph = DecodeGraph(impl, builder, index_query, index_k_pages, num_reqs=4)
...     decode_topk = graph.replay(builder.build(0, step))
... else:
...     decode_topk, _ = impl.forward(index_query, index_k_pages, builder.build(0, step))
>>> decode_topk[0].tolist()  # the best block, block 0 of those that tie, and the newest
[[0, 2, 6], [0, 1, 2]]

A mixed step: request 0 decodes once more while request 1 brings a chunk of 8 tokens:

>>> step = CommonAttentionMetadata.from_lens([1, 8], [101, 48], block_table)
>>> decode_topk, prefill_topk = impl.forward(index_query, index_k_pages, builder.build(0, step))
>>> decode_topk[1].tolist(), prefill_topk[1, -1].tolist()
([[0, 2, 6]], [0, 1, 2])
>>> prefill_topk.data_ptr() == topk_indices_buffer[:, 1:].data_ptr()  # right behind the decodes
True
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from msa_fast.attention_metadata import BatchSplit, CommonAttentionMetadata, HostLens
from msa_fast.indexer import MiniMaxM3IndexerBackend, MiniMaxM3IndexerImpl, MiniMaxM3IndexerMetadataBuilder
from msa_fast.indexer_metadata import (
    MiniMaxM3IndexerDecodeMetadata,
    MiniMaxM3IndexerMetadata,
    MiniMaxM3IndexerPrefillMetadata,
    part_of,
)
from msa_fast.ops.bound import DecodeLaunch, PrefillLaunch
from msa_fast.ops.buffers import new_score
from msa_fast.ops.checks import check_num_splits
from msa_fast.ops.plan_memory import PlanMemory
from msa_fast.ops.prefill_plan import Planner, PrefillPlan
from msa_fast.ops.product import check_product_name
from msa_fast.ops.score import minimax_m3_index_score
from msa_fast.ops.step_kinds import StepKinds
from msa_fast.ops.topk import minimax_m3_index_topk
from msa_fast.prefill_scorer import PrefillScorer, choose_scorer
from msa_ref.config import IndexerConfig, require


class MiniMaxM3IndexerMSABackend(MiniMaxM3IndexerBackend):
    """The backend that selects the MSA builder and impl."""

    @staticmethod
    def get_name() -> str:
        """The name an engine lists the backend under."""
        return "MINIMAX_M3_INDEXER_MSA"

    @staticmethod
    def get_builder_cls() -> type["MiniMaxM3IndexerMSAMetadataBuilder"]:
        """The builder of this backend's metadata."""
        return MiniMaxM3IndexerMSAMetadataBuilder

    @staticmethod
    def get_impl_cls() -> type["MiniMaxM3IndexerMSAImpl"]:
        """The impl of this backend."""
        return MiniMaxM3IndexerMSAImpl


@dataclass(eq=False)
class MiniMaxM3IndexerMSAPrefillMetadata(MiniMaxM3IndexerPrefillMetadata):
    """The prefill side with its plan, built once per step on the host and shared by all layers.

    launch: the side, bound to what does not change between layers.
    """

    plan: PrefillPlan
    launch: PrefillLaunch


@dataclass(eq=False)
class MiniMaxM3IndexerMSAMetadata(MiniMaxM3IndexerMetadata):
    """One step for the MSA impl: `decode` as in the base, `prefill_msa` instead of the base's `prefill`.

    decode_launch: the decode side, bound to what does not change between layers.
    """

    prefill_msa: MiniMaxM3IndexerMSAPrefillMetadata | None = None
    decode_launch: DecodeLaunch | None = None


class MiniMaxM3IndexerMSAMetadataBuilder(MiniMaxM3IndexerMetadataBuilder):
    """Builds `MiniMaxM3IndexerMSAMetadata`. Its arguments are those of the base."""

    @cached_property
    def _kinds(self) -> StepKinds:
        """The kinds of its prefill steps so far."""
        return StepKinds()

    @cached_property
    def _planner(self) -> Planner:
        """The planner of its prefills, whose plans lie in its memory."""
        device = self._seq_lens.device
        return Planner(self.config, device, PlanMemory(device), self.key_dtype)

    @cached_property
    def _decode_launches(self) -> dict[MiniMaxM3IndexerDecodeMetadata, DecodeLaunch]:
        """The decode sides so far, each with its launch."""
        return {}

    def build(
        self, common_prefix_len: int, common_attn_metadata: CommonAttentionMetadata, fast_build: bool = False
    ) -> MiniMaxM3IndexerMSAMetadata:
        """The metadata of one step, valid until the next `build`. Never synchronizes.

        Args:
            common_prefix_len: tokens that all requests share; changes nothing, since each request is
                scored on its own.
            common_attn_metadata: the step, decode-first.
            fast_build: make a shorter plan, one program per query tile, for a step that few layers
                will run. Changes speed, never a bit of the answer.

        Raises:
            ValueError: if the step has more requests, tokens or blocks than the builder was made for.
        """
        common = common_attn_metadata
        lens, split = self._split(common)
        decode = self._build_decode(common, split)
        decode_launch = None if decode is None else self._bind_decode(decode, split.num_decode_tokens)
        prefill = self._build_prefill(common, lens, split, fast_build) if split.num_prefills else None
        # In the order of its fields: to name them would take as long again.
        return MiniMaxM3IndexerMSAMetadata(
            common.num_actual_tokens, common.slot_mapping, *split[1:], self.micro_batch, decode, None,
            self._builds.newest, self._builds, prefill, decode_launch,
        )  # fmt: skip

    def _bind_decode(self, decode: MiniMaxM3IndexerDecodeMetadata, num_tokens: int) -> DecodeLaunch:
        """The launch of these views. Decode is launched by shapes alone, so what one step bound serves the next."""
        launch = self._decode_launches.get(decode)
        if launch is None:
            metadata = decode.block_table, decode.seq_lens, decode.cu_seqlens_q
            launch = DecodeLaunch(self.config, decode.decode_query_len, *metadata, num_tokens)
            self._decode_launches[decode] = launch
        return launch

    def _build_prefill(
        self, common: CommonAttentionMetadata, lens: HostLens, split: BatchSplit, fast_build: bool
    ) -> MiniMaxM3IndexerMSAPrefillMetadata:
        """The prefill side: views of the engine's tensors, offsets rebased, and the plan from host lengths."""
        first, num_reqs = split.num_decodes, split.num_prefills
        last = first + num_reqs
        query_lens, seq_lens_cpu = lens.query_lens[first:last], lens.seq_lens[first:last]
        max_seq_len = max(seq_lens_cpu)
        cu_seqlens_q = part_of(common.query_start_loc, num_reqs + 1, first_row=first)
        if split.num_decode_tokens:
            cu_seqlens_q = cu_seqlens_q - split.num_decode_tokens
        seq_lens = part_of(common.seq_lens, num_reqs, first_row=first)
        num_blocks, num_splits = self.config.num_blocks(max_seq_len), 1 if fast_build else None
        block_table = part_of(common.block_table_tensor, num_reqs, num_blocks, first_row=first)
        plan = self._planner.plan(query_lens, seq_lens_cpu, num_splits)
        launch = PrefillLaunch(plan, block_table, seq_lens, cu_seqlens_q, split.num_decode_tokens, self._kinds)
        return MiniMaxM3IndexerMSAPrefillMetadata(
            cu_seqlens_q, seq_lens, block_table, max(query_lens), max_seq_len, plan, launch
        )


class MiniMaxM3IndexerMSAImpl(MiniMaxM3IndexerImpl):
    """Selects for one layer: decode by split-K scores and a selection in one capturable call, prefill eagerly.

    Decode allocates nothing but its scores, under capture from the graph's own pool.

    Args:
        config, topk_indices_buffer: as the base's.
        prefill_scorer: `triton`; `fmha_sm100`, the vendor's, where it is installed and the device is
            SM100 (not run on hardware: see `msa_fast.fmha_sm100`); or the caller's own function. The
            last two score the whole batch at once, in as much memory as that takes. The attribute
            `prefill_scorer` keeps the choice.
        num_splits: programs per decode request, as `minimax_m3_index_decode` takes it.
        bind_launches: launch what the first layer of a step launched with other pointers, as `msa_fast.ops.bound` says.
            False: check every layer, and launch by Triton. Changes what the host spends, never a bit of the answer. A
            function of the caller's own is never bound.
        product: `exact`; or `fp8`, with the scorer `triton`: e4m3 queries and keys go to the GPU's unit for them.
            Hopper's keeps 13 bits of a sum and may select other blocks; it is never chosen otherwise.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """

    indexer_backend_cls: ClassVar[type[MiniMaxM3IndexerBackend]] = MiniMaxM3IndexerMSABackend

    def __init__(
        self,
        config: IndexerConfig,
        topk_indices_buffer: torch.Tensor,
        prefill_scorer: str | PrefillScorer = "triton",
        num_splits: int | None = None,
        bind_launches: bool = True,
        product: str = "exact",
    ) -> None:
        super().__init__(config, topk_indices_buffer)
        check_num_splits(num_splits)
        check_product_name(product)
        is_own = product == "exact" or prefill_scorer == "triton"
        require(is_own, "product", "can be 'fp8' only with prefill_scorer='triton'", repr(prefill_scorer))
        self.product = product
        self.prefill_scorer = prefill_scorer
        self.num_splits = num_splits
        self.bind_launches = bind_launches
        self._score = choose_scorer(prefill_scorer, topk_indices_buffer.device, config)

    def forward(
        self,
        index_query: torch.Tensor,
        index_k_pages: torch.Tensor,
        attn_metadata: MiniMaxM3IndexerMetadata | None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Select for one layer of one step.

        Args:
            index_query: [>= T, H, D], decode tokens first; rows past the step's tokens are not read.
            index_k_pages: [num_pages, S, D], this layer's keys, those of the step's tokens included.
            attn_metadata: the MSA builder's, of this step; None while an engine profiles.

        Returns:
            (decode_topk, prefill_topk): [H, num_decode_tokens, K] and [H, num_prefill_tokens, K] int32,
            views of the slot of `topk_indices_buffer`, prefill right behind decode. None for a side
            without tokens. Other rows of the buffer stay untouched.

        Raises:
            ValueError: one sentence naming the argument, the rule and what was got.
        """
        if attn_metadata is None:
            return None, None
        if not isinstance(attn_metadata, MiniMaxM3IndexerMSAMetadata):
            require(False, "attn_metadata", "must be a MiniMaxM3IndexerMSAMetadata", type(attn_metadata).__name__)
        assert isinstance(attn_metadata, MiniMaxM3IndexerMSAMetadata)
        attn_metadata.require_newest()
        end = attn_metadata.num_decode_tokens + attn_metadata.num_prefill_tokens
        slot = self.topk_slot(attn_metadata.micro_batch, end)
        decode_topk = prefill_topk = None
        if attn_metadata.decode_launch is not None:
            choice = self.num_splits, self.bind_launches, self.product
            decode_topk = attn_metadata.decode_launch(index_query, index_k_pages, slot, *choice)
        if attn_metadata.prefill_msa is not None:
            prefill_topk = self._prefill(index_query, index_k_pages, attn_metadata.prefill_msa, slot)
        return decode_topk, prefill_topk

    def _prefill(
        self,
        index_query: torch.Tensor,
        index_k_pages: torch.Tensor,
        prefill: MiniMaxM3IndexerMSAPrefillMetadata,
        slot: torch.Tensor,
    ) -> torch.Tensor:
        # Together the two kernels also share the best scores of superblocks.
        if self._score is minimax_m3_index_score:
            return prefill.launch(index_query, index_k_pages, slot, self.bind_launches, self.product)
        batch, out = prefill.launch.batch_of(index_query, index_k_pages, slot)
        score = self._score(batch, prefill.plan, new_score(batch, is_block_major=True))
        return minimax_m3_index_topk(score, batch, prefill.plan, out)
