"""Canaries that promise PAD for queries behind the last request's tokens, as padded CUDA graphs have them, and fail."""

from dataclasses import replace

import torch

from fuzz.canaries.naive import NaiveIndexer
from fuzz.canaries.table import canary
from fuzz.targets import Call
from msa_ref.profile import CONTRACT

PADDED = replace(CONTRACT, name="a padded kernel", padded_queries="pad")


@canary("D51", "WritesAll", profile=PADDED, asks=("padded queries",))
class PaddingUnwritten(NaiveIndexer):
    """Writes the rows of its requests alone, and leaves those of the padding behind them."""

    def write_out(self, out: torch.Tensor, topk_idx: torch.Tensor) -> None:
        num_tokens = sum(self.call.query_lens)
        out[:, :num_tokens] = topk_idx[:, :num_tokens].to(out.device)


@canary("D51", "Visible", profile=PADDED, asks=("padded queries",))
class PaddingOfTheLastRequest(NaiveIndexer):
    """Takes the queries behind the last request's tokens for more tokens of that request."""

    def __init__(self, call: Call) -> None:
        *others, last = call.query_lens
        padding = call.batch.total_q - sum(call.query_lens)
        super().__init__(replace(call, query_lens=[*others, last + padding]))
