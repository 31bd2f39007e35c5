"""The support matrix: which kernel serves which GPU, and the sizes that the kernels take, all read from the code."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import msa_fast
from fuzz.twin.options import ARCHITECTURES as TWINS
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.ops.checks import FORMATS, MIN_NVFP4_DIM, check_config
from msa_ref import IndexerConfig

STAGES = {
    "prefill score": ("_score_", ("prefill",)),
    "prefill top-k": ("_topk_", ("prefill", "select")),
    "decode score": ("_decode_score_", ("decode",)),
    "decode top-k": ("_topk_", ("decode",)),
}
"""Stage -> beginning of its kernels' names, and the calls that reach them."""
CARDS = {
    "sm_90": "H100, H200",
    "sm_100": "B200",
    "sm_103": "B300",
    "sm_120": "RTX 50",
    "gfx942": "MI300X",
    "gfx950": "MI355X",
}
"""Architecture -> GPUs that have it."""
HAS_RUN = {"sm_90": "run and judged"}
"""Architecture on which the kernels have run -> what was judged there (msa_fast/bench/RESULTS.md)."""
PROBED = 4096
"""Sizes up to which the limits are sought."""


@cache
def _compiled() -> dict[str, list[str]]:
    """Architecture -> its recorded configurations, `kernel | call`, from the newest Triton's compile gate."""
    newest = max((Path(msa_fast.__file__).parent / "compile_gate").glob("recorded-*.json"))
    data = json.loads(newest.read_text())
    return {architecture: list(data[architecture]) for architecture in ARCHITECTURES}


def _state(architecture: str) -> str:
    """The trials of an architecture's kernels. A model of a GPU is not that GPU."""
    if architecture in HAS_RUN:
        return HAS_RUN[architecture]
    if architecture in TWINS:
        return "compiled, executed on [a model](fuzz/twin/README.md), [never run](msa_fast/bench/BLACKWELL.md)"
    return "compiled, never run"


def support_matrix() -> str:
    """A table: a row for the GPUs that get the same kernels and were tried as much."""
    rows: dict[tuple[str, str], list[str]] = {}
    for architecture in ARCHITECTURES:
        state = _state(architecture)
        rows.setdefault((_kernels(architecture), state), []).append(f"{CARDS[architecture]} ({architecture})")
    rows[("generic ones", "not tried")] = ["any other GPU that Triton serves"]
    rows[("generic ones", "run and judged on every change")] = ["no GPU: Triton's interpreter on a CPU"]
    lines = [f"| {', '.join(gpus)} | {kernels} | {state} |" for (kernels, state), gpus in rows.items()]
    return "\n".join(("| GPU | kernels | state |", "|---|---|---|", *lines))


def _kernels(architecture: str) -> str:
    own = {stage: formats for stage in STAGES if (formats := _own_formats(stage, architecture))}
    stages = [f"{stage} ({', '.join(formats)})" if "score" in stage else stage for stage, formats in own.items()]
    return f"for MiniMax-M3's shape its own: {'; '.join(stages)}. Else generic ones" if own else "generic ones"


def _own_formats(stage: str, architecture: str) -> list[str]:
    """The formats for which an architecture has a kernel of its own, in the order of the compile gate's calls."""
    prefix, calls = STAGES[stage]
    kernels = [name.split(" | ") for name in _compiled()[architecture]]
    called = [(name, call) for name, call in kernels if name.startswith(prefix) and call.split()[0] in calls]
    assert called, f"the compile gate has no {stage} for {architecture}"
    own = [call for name, call in called if re.search(r"_(sm\d+|warp)_kernel$", name)]
    formats = (call.split(" ", 1)[1].split(" H=")[0] for call in own)
    return list(dict.fromkeys(formats))


def limits() -> str:
    """The sizes and element types that the kernels take, on one line."""
    dtypes = _words(list(FORMATS))
    shapes = {name: _taken(name) for name in ("index_head_dim", "block_size", "topk_blocks", "num_index_heads")}
    assert shapes["index_head_dim"] == shapes["block_size"], "the sentence says both at once"
    return (
        f"Sizes: head dim and block size {shapes['block_size']}; topk {shapes['topk_blocks']}; "
        f"index heads {shapes['num_index_heads']}; elements {dtypes} (keys of head dim {MIN_NVFP4_DIM} and more)."
    )


def _taken(name: str) -> str:
    """The sizes of a parameter that the kernels take, in words."""
    config = IndexerConfig(local_blocks=0)
    sizes = [size for size in range(1, PROBED + 1) if _is_taken(check_config, replace(config, **{name: size}))]
    is_range = sizes == list(range(sizes[0], sizes[-1] + 1))
    return f"{sizes[0]} to {sizes[-1]}" if is_range else _words([str(size) for size in sizes])


def _is_taken(check: Callable[[IndexerConfig], None], config: IndexerConfig) -> bool:
    try:
        check(config)
    except ValueError:
        return False
    return True


def _words(names: list[str], word: str = "or") -> str:
    return f"{', '.join(names[:-1])} {word} {names[-1]}" if len(names) > 1 else names[0]
