"""The unit that multiplies queries and keys: chosen by the caller's word, and never by the kernels.

`exact` keeps as many bits of a sum of e4m3 products as of any others: it widens operands to 16 bits, which is exact, or
takes Blackwell's unit for e4m3, which keeps 25, as that for 16 bits does. `fp8` gives e4m3 queries and keys to the unit
of any GPU as they are: Hopper's keeps 13 bits, so it may select other blocks.
"""

from functools import partial

from msa_fast.ops import decode_score, prefill_score
from msa_fast.ops.launch_table import architecture_of
from msa_ref.batch import PagedBatch
from msa_ref.config import require

PRODUCTS = ("exact", "fp8")
"""Names of products."""
FP8_ARCHITECTURES = ("sm_90", "sm_100", "sm_103", "sm_120", "interpreter")
"""Architectures whose unit for e4m3 has a bound in the reference. The interpreter computes as Hopper's does."""
MIN_FP8_DIM = 32
"""D of a product in e4m3: the unit takes 32 elements at a time."""


class NativeDecode:
    """The generic decode scorer, with products in e4m3."""

    TAKES_INTERLEAVED = decode_score.TAKES_INTERLEAVED
    is_served = staticmethod(decode_score.is_served)
    programs_per_processor = staticmethod(decode_score.programs_per_processor)
    launch_score = staticmethod(partial(decode_score.launch_score, is_native=True))


class NativePrefill:
    """The generic prefill scorer, with products in e4m3."""

    SELECTION_START = prefill_score.SELECTION_START
    IS_INTERLEAVED = prefill_score.IS_INTERLEAVED
    is_served = staticmethod(prefill_score.is_served)
    launch_score = staticmethod(partial(prefill_score.launch_score, is_native=True))


def check_product_name(product: object) -> None:
    """Refuse what is no product.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    require(product in PRODUCTS, "product", f"must be one of {', '.join(PRODUCTS)}", repr(product))


def check_product(product: str, batch: PagedBatch) -> None:
    """Refuse a product that a batch cannot have where it is.

    Raises:
        ValueError: one sentence naming the argument, the rule and what was got.
    """
    check_product_name(product)
    if product == "exact":
        return
    only, formats = "can be 'fp8' only", (batch.query_format.short_name, batch.key_format.short_name)
    require(formats == ("e4m3", "e4m3"), "product", f"{only} for e4m3 queries and keys", " x ".join(formats))
    architecture = architecture_of(batch.device)
    require(architecture in FP8_ARCHITECTURES, "product", f"{only} on {', '.join(FP8_ARCHITECTURES)}", architecture)
    dim = batch.config.index_head_dim
    require(dim >= MIN_FP8_DIM, "product", f"{only} for index_head_dim >= {MIN_FP8_DIM}", dim)
