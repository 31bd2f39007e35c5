"""The support matrix: which kernel serves which GPU, and the sizes that the kernels take, all read from the code."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import msa_fast
from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.ops.checks import check_config
from msa_ref import IndexerConfig
from msa_ref.profile import CONTRACT

STAGES = {
    "prefill score": ("_score_", ("prefill",)),
    "prefill top-k": ("_topk_", ("prefill", "select")),
    "decode score": ("_decode_score_", ("decode",)),
    "decode top-k": ("_topk_", ("decode",)),
}
"""Row -> beginning of its kernels' names, and the calls that reach them."""
HAS_RUN = ("sm_90", "interpreter")
"""Columns whose kernels have run, and were judged (msa_fast/bench/RESULTS.md); the others were compiled alone."""
PROBED = 4096
"""Sizes up to which the limits are sought."""


@cache
def _compiled() -> dict[str, list[str]]:
    """Target -> its recorded configurations, `kernel | call`, from the newest Triton's compile gate."""
    newest = max((Path(msa_fast.__file__).parent / "compile_gate").glob("recorded-*.json"))
    data = json.loads(newest.read_text())
    return {target: list(data[target]) for target in ARCHITECTURES}


def _cell(stage: str, target: str) -> str:
    prefix, calls = STAGES[stage]
    if target == "interpreter":
        return "generic"
    kernels = [name.split(" | ") for name in _compiled()[target]]
    own = [name for name, call in kernels if name.startswith(prefix) and call.split()[0] in calls]
    assert own, f"the compile gate has no {stage} for {target}"
    word = "own kernel" if any("_sm90" in name for name in own) else "generic"
    return word if target in HAS_RUN else f"{word}, compiled"


def support_matrix() -> str:
    """A table: a row a stage, a column a target."""
    columns = (*ARCHITECTURES, "interpreter")
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [f"| {stage} | {' | '.join(_cell(stage, column) for column in columns)} |" for stage in STAGES]
    return "\n".join(lines)


def limits() -> str:
    """The sizes and element types that the kernels take, in a sentence."""
    dtypes = _words([str(dtype).removeprefix("torch.") for dtype in CONTRACT.dtypes])
    return (
        f"Head dim {_taken('index_head_dim')}; block size {_taken('block_size')}; topk {_taken('topk_blocks')}; "
        f"index heads {_taken('num_index_heads')}; queries and keys {dtypes}. "
        "Compiled: checked by the compile gate, never run."
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


def _words(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
