"""The scenes of a foreign target's CPU gate, made once a process and when they are asked for.

Those that are soon judged come first, because one that shows a defect is enough.
"""

from collections.abc import Iterator
from functools import cache

from fuzz import corpus
from fuzz.cases.case import Case
from fuzz.cases.generate import gate_cases
from fuzz.cases.inside import Domain, inside
from fuzz.cases.large import large_cases
from fuzz.cases.scale import SMALL
from fuzz.commands.options import DEFAULT_CASES, DEFAULT_SEED
from fuzz.inputs.scene import Scene
from fuzz.judge.examiner import Examiner

NOT_DRAWN = {
    "answers_in_a_ring",
    "recognises_large_pages",
    "each_twenty_thousandth_call",
    "each_thousandth_call",
    "eleven_bits_in_its_own_shape",
    "page_in_fifteen_bits",
    "shared_slot",
    "tokens_of_a_step",
    "writes_a_moment_later",
    "infinity_corrupts_neighbour",
    "padding_unwritten",
    "padding_of_the_last_request",
    "needs_a_page",
    "needs_a_request",
    "queries_as_if_contiguous",
    "subnormal_queries_are_zero",
    "subnormal_sums_are_zero",
}
"""Canaries that kept cases alone show. Drawn cases show every other one."""

LARGE = {
    "blocks_of_twelve_bits",
    "pages_of_seventeen_bits",
    "requests_of_sixteen_bits",
    "tokens_of_fourteen_bits",
}
"""Canaries that large cases alone show."""

FAMILY = {
    "band": ("bin_overflow_dropped", "hoppers_fp8_sums", "second_pass_takes_again"),
    "any_bytes": ("nan_codes_are_numbers", "nan_wins", "products_beyond448", "scales_without_nan"),
    "clusters": ("eleven_bit_products",),
    "every_code": ("subnormal_keys_are_zero",),
    "extremes": ("clamped_score", "finds_the_answer", "serves_by_sums", "stride_zero_as_contiguous"),
    "few_values": ("old_keys_of_shared_page",),
    "full_width": ("thirteen_bit_sums",),
    "increasing": ("page_offset_wraps",),
    "integers": ("heads_of_a_tile", "tile_of_tokens"),
    "one_run": ("two_requests_staged",),
    "plateau": ("grid_of_blocks", "scale_of_the_next_group", "sees_the_next", "slots_of_a_warp"),
    "spread": ("tokens_in_eight_bits",),
    "subnormal_keys": ("counter_not_reset",),
}
"""Family of values -> the canaries that few drawn cases show, one with these values among them: a saving of time alone.

Its cases are asked first. If drawing changes, the others show the canary still, later.
"""


@cache
def drawn_cases() -> list[Case]:
    """The gate's drawn cases, as they are drawn."""
    scale = inside(SMALL, Domain(has_odd_sizes=True))
    return list(gate_cases(DEFAULT_SEED, DEFAULT_CASES["cpu"], scale))


@cache
def kept_cases() -> list[Case]:
    """The kept cases, as they are listed."""
    return [entry.case for entry in corpus.entries().values()]


def scenes_for(canary: str) -> Iterator[Scene]:
    """The scenes that show a canary."""
    family = next((family for family, canaries in FAMILY.items() if canary in canaries), "")
    cases = kept_cases() if canary in NOT_DRAWN else drawn_cases()
    if canary in LARGE:
        cases = list(large_cases(DEFAULT_SEED, Domain()))
    return map(scene_of, sorted(cases, key=lambda case: (case.values.family != family, work(case))))


@cache
def scene_of(case: Case) -> Scene:
    """The scene of a case."""
    return Scene(case, "cpu")


@cache
def examiner_of(scene: Scene) -> Examiner:
    """The examiner of a scene."""
    return Examiner(scene)


def work(case: Case) -> int:
    """Blocks that a naive indexer scores."""
    config, num_runs = case.config, len(case.num_splits) + case.repeats
    each = [
        request.query_len * (1 + config.num_blocks(request.seq_len))
        for step in case.states
        for request in step.requests
    ]
    return config.num_index_heads * num_runs * sum(each)
