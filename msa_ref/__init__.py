"""The specification of the MSA block indexer: obvious before fast, torch only, CPU or GPU.

The modules in reading order:

- `config`, `formats` and `batch`: the inputs;
- `score`, `select` and `indexer`: the right answer;
- `rows` and `contract`: the laws that an answer obeys;
- `laws` and `transform`: how answers to related batches are related;
- `precision`, `magnitudes`, `certified` and `staged`: judging sums that round;
- `profile`, `call_facts` and `rounded_ranks`: targets that promise less.

`walkthrough/README.md` leads through all of it in eleven chapters; `python -m msa_ref.walkthrough` explains a row.
"""

from msa_ref.batch import PagedBatch
from msa_ref.config import PAD, IndexerConfig
from msa_ref.indexer import index_topk
from msa_ref.score import block_scores
from msa_ref.select import forced_mask, select_blocks

__all__ = ["PAD", "IndexerConfig", "PagedBatch", "block_scores", "forced_mask", "index_topk", "select_blocks"]
