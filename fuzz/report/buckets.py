"""Tables of coverage as records hold them: which buckets of which dimensions judged cases reached."""

Coverage = dict[str, dict[str, int]]
"""Dimension -> bucket -> judged cases; a bucket that none of them reached counts 0."""


def num_reached(coverage: Coverage) -> int:
    """Buckets that some case reached."""
    return sum(count > 0 for buckets in coverage.values() for count in buckets.values())


def num_buckets(coverage: Coverage) -> int:
    """Buckets that some case reached, or should have reached."""
    return sum(map(len, coverage.values()))


def unreached(coverage: Coverage) -> list[str]:
    """`dimension: bucket, bucket` for the buckets that no case reached."""
    missed = {name: [bucket for bucket, n in buckets.items() if not n] for name, buckets in coverage.items()}
    return [f"{name}: {', '.join(buckets)}" for name, buckets in missed.items() if buckets]
