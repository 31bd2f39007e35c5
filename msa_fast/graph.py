"""One captured decode step: captured once at the greatest length, right for every step that fits."""

from typing import Any

import torch

from msa_fast.indexer import MiniMaxM3IndexerImpl, MiniMaxM3IndexerMetadataBuilder
from msa_fast.indexer_metadata import MiniMaxM3IndexerMetadata
from msa_ref.config import require


class DecodeGraph:
    """The decode side of one layer as a CUDA graph. An engine captures its whole model the same way.

    A graph keeps the addresses of the builder's buffers, the queries, the key pages and the slot of
    `topk_indices_buffer`; its grids come from shapes alone. So before a replay: write the queries
    into `index_query`, and `build` the step with the same builder. Requests that a step does not have are
    padding rows. Steps of two micro-batches may overlap: each has its builder, its slot and, in
    this class, its own memory pool.

    Args:
        impl, builder: of the same config; the builder's micro_batch picks the slot.
        index_query: [>= num_reqs * decode_query_len, H, D] on a GPU; read at every replay.
        index_k_pages: [num_pages, S, D], at least one page; page 0 is read at capture.
        num_reqs: bound on the requests of a replay.
        decode_query_len: by default the builder's threshold.
        pool: memory pool of the graph; by default its own.
        capture_error_mode: torch's word for which threads may not allocate during capture; by default this one alone.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """

    def __init__(
        self,
        impl: MiniMaxM3IndexerImpl,
        builder: MiniMaxM3IndexerMetadataBuilder,
        index_query: torch.Tensor,
        index_k_pages: torch.Tensor,
        num_reqs: int,
        decode_query_len: int | None = None,
        pool: Any = None,
        capture_error_mode: str = "thread_local",
    ) -> None:
        require(isinstance(index_query, torch.Tensor), "index_query", "must be a tensor", type(index_query).__name__)
        require(index_query.is_cuda, "index_query", "must be on a GPU to be captured", index_query.device)
        self.metadata = builder.build_for_cudagraph_capture(builder.longest_decode_batch(num_reqs, decode_query_len))
        with torch.cuda.device(index_query.device):
            # Compile outside of the capture, on a stream of its own as torch asks.
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                impl.forward(index_query, index_k_pages, self.metadata)
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode=capture_error_mode):
                self.topk_idx, _ = impl.forward(index_query, index_k_pages, self.metadata)
        # Kept because the graph reads them.
        self._inputs = (index_query, index_k_pages)

    def replay(self, metadata: MiniMaxM3IndexerMetadata) -> torch.Tensor:
        """Replay for the step last built.

        Args:
            metadata: the builder's, of this step.

        Returns:
            [H, num_decode_tokens, K] int32, a view of `topk_indices_buffer`. The captured rows
            behind these are PAD.

        Raises:
            ValueError: if the step is not one that the graph was captured for.
        """
        check_replay(self.metadata, metadata)
        self._graph.replay()
        assert self.topk_idx is not None
        return self.topk_idx[:, : metadata.num_decode_tokens]


def check_replay(captured: MiniMaxM3IndexerMetadata, metadata: MiniMaxM3IndexerMetadata) -> None:
    """Refuse a step that a graph was not captured for. Looks only at values on the host.

    Raises:
        ValueError: one sentence naming the field, the rule and what was got.
    """
    assert captured.decode is not None
    metadata.require_newest()
    require(metadata.num_prefills == 0, "num_prefills", "must be 0 in a captured decode step", metadata.num_prefills)
    most = captured.num_decodes
    require(metadata.num_decodes <= most, "num_decodes", f"must be <= the {most} captured", metadata.num_decodes)
    if metadata.decode is None:
        return
    query_len = captured.decode.decode_query_len
    got = metadata.decode.decode_query_len
    require(got == query_len, "decode_query_len", f"must be the {query_len} captured", got)
    is_own = metadata.decode.seq_lens.data_ptr() == captured.decode.seq_lens.data_ptr()
    require(is_own, "metadata", "must come from the builder that the graph was captured with", "another's")
