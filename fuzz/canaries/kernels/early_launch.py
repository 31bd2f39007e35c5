"""Mutants of launches that start beside the kernel before them: what is touched too early, and by whom."""

from collections.abc import Iterator

from fuzz.canaries.kernels.mutant import Mutant, mutants_of

LAWS = ("Best", "Runs", "RepeatDeterminism")
SCORERS = {
    "decode_sm90": ("ops/hopper/decode.py", "decode"),
    "decode_e4m3_sm90": ("ops/hopper/decode_e4m3.py", "decode"),
    "sm90": ("ops/hopper/score.py", "prefill"),
    "wide_sm90": ("ops/hopper/score_wide.py", "prefill"),
}
"""Beginning of the mutants' names -> the scorer's file, and the target that has it."""


def _of_scorer(name: str, path: str, target: str) -> Iterator[Mutant]:
    mutant = mutants_of(path, target, "gpu", "twin")
    yield mutant(
        f"{name}_does_not_wait",
        "The scorer reads what the kernel before it may still write.",
        "    gdc_wait()\n",
        "",
        LAWS,
        defect="D46",
    )
    yield mutant(
        f"{name}_starts_the_selection_before_it_waits",
        "The selection may read lengths that the kernel before the scorer still writes.",
        "    gdc_wait()\n    if IS_FOLLOWED:  # no sooner: the selection reads lengths before it waits\n"
        "        gdc_launch_dependents()\n",
        "    if IS_FOLLOWED:\n        gdc_launch_dependents()\n    gdc_wait()\n",
        LAWS,
        defect="D46",
    )


MUTANTS = [
    *(mutant for name, (path, target) in SCORERS.items() for mutant in _of_scorer(name, path, target)),
    mutants_of("ops/nvidia/warp_topk.py", "decode", "gpu", "Hopper")(
        "topk_sm90_scores_not_waited_for",
        "The selection reads scores while their scorer may still run.",
        "        gdc_wait()\n",
        "        pass\n",
        LAWS,
        defect="D46",
    ),
    mutants_of("ops/prefill.py", "prefill", "gpu", "Hopper", "twin")(
        "topk_sm90_prefill_early_behind_any_kernel",
        "Where a prefill has nothing to score, its selection may start beside whatever kernel is before it.",
        "        if launches[-1] is None:",
        "        if False:",
        ("Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    mutants_of("ops/decode.py", "decode", "gpu", "Hopper", "twin")(
        "topk_sm90_decode_early_behind_any_kernel",
        "Where a decode has nothing to score, its selection may start beside whatever kernel is before it.",
        "    is_early &= launches[-1] is not None",
        "    is_early &= True",
        ("Runs", "RepeatDeterminism"),
        defect="D46",
    ),
]
