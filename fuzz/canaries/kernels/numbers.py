"""Mutants of the range and the bits of numbers: subnormal ones flushed, large ones clamped, last bits dropped."""

from fuzz.canaries.kernels.mutant import mutants_of

_dot = mutants_of("ops/dot.py", "prefill-apart")
_rank = mutants_of("ops/rank.py", "topk")

_PRODUCT = 'return tl.dot(a, b, input_precision="ieee", out_dtype=tl.float32)'
_RANKED = "score = tl.where(score == 0.0, 0.0, score)  # -0.0 equals +0.0"


def _flushed(number: str) -> str:
    """Source text: the number, or zero where it is subnormal in fp32 and bf16."""
    return f"tl.where(tl.abs({number}) < 1.1754943508222875e-38, 0.0, {number}).to({number}.dtype)"


MUTANTS = [
    _dot(
        "dot_flushes_queries",
        "Prefill's products take subnormal numbers in queries for zero.",
        _PRODUCT,
        _PRODUCT.replace("(a,", f"({_flushed('a')},"),
        ("Score", "Best"),
        defect="D38",
    ),
    _dot(
        "dot_flushes_keys",
        "Prefill's products take subnormal numbers in keys for zero.",
        _PRODUCT,
        _PRODUCT.replace(" b,", f" {_flushed('b')},"),
        ("Score", "Best"),
        defect="D38",
    ),
    _dot(
        "dot_flushes_sums",
        "Subnormal sums of products become zero.",
        _PRODUCT,
        f"{_PRODUCT.replace('return', 'sums =')}\n    return {_flushed('sums')}",
        ("Score", "Best"),
        target="decode",
        defect="D38",
    ),
    _dot(
        "dot_drops_four_bits",
        "Decode's products take fp32 queries without their last four bits.",
        _PRODUCT,
        "if b.dtype == tl.float32:\n"
        "        b = (b.to(tl.int32, bitcast=True) & -16).to(tl.float32, bitcast=True)\n"
        f"    {_PRODUCT}",
        ("Score", "Best"),
        target="decode",
        defect="D38",
    ),
    _rank(
        "rank_flushes_subnormals",
        "Subnormal scores rank as zero.",
        _RANKED,
        f"score = {_flushed('score')}",
        ("Best",),
        defect="D38",
    ),
    _rank(
        "rank_clamps_at_2_24",
        "Scores above 2**24 rank as 2**24.",
        _RANKED,
        f"{_RANKED}\n    score = tl.where(score > 16777216.0, 16777216.0, score)",
        ("Best",),
        defect="D06",
    ),
]
