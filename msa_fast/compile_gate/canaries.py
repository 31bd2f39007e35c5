"""Planted defects, one per rule: kernels that must fail the gate by the rule that they are named after."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from msa_fast.compile_gate.architectures import ARCHITECTURES
from msa_fast.compile_gate.cache import Cache
from msa_fast.compile_gate.configurations import run_calls
from msa_fast.compile_gate.pool import compile_all
from msa_fast.compile_gate.rules import broken_rules
from msa_fast.ops.dot import dot_fp32


@triton.jit  # type: ignore[untyped-decorator]
def _planted_kernel(  # type: ignore[no-untyped-def]
    pages_ptr, q_ptr, out_ptr, num_pages, stride_d, S: tl.constexpr, ROWS: tl.constexpr, DEFECT: tl.constexpr
):
    """Grid: one program. Writes the best score of ROWS queries over all pages of S keys of 64 values each."""
    offs_d = tl.arange(0, 64)
    offs_s = tl.arange(0, S)
    rows = tl.arange(0, ROWS)
    q = tl.load(q_ptr + rows[:, None] * 64 + offs_d[None, :])
    best = tl.full([ROWS, S], float("-inf"), tl.float32)
    tl.static_assert(DEFECT != "compiles", "a planted failure to compile")
    if DEFECT == "packed":
        rows = tl.inline_asm_elementwise(
            "{ .reg .b32 one; mov.b32 one, 65537; add.s16x2 $0, $1, one; }",
            "=r,r",
            [rows],
            dtype=tl.int32,
            is_pure=True,
            pack=1,
        )
    for page in range(num_pages):
        if DEFECT == "keys":
            k = tl.load(pages_ptr + page * S * 64 + offs_s[None, :] * 64 + offs_d[:, None] * stride_d)
        else:
            k = tl.load(pages_ptr + page * S * 64 + offs_s[None, :] * 64 + offs_d[:, None])
        if DEFECT == "matrix":  # noqa: SIM108
            score = dot_fp32(q.to(tl.float32), k.to(tl.float32))
        else:
            score = dot_fp32(q, k)
        best = tl.maximum(best, score)
    tl.store(out_ptr + rows[:, None] * S + offs_s[None, :], best)


@dataclass(frozen=True)
class Canary:
    """A call of the planted kernel. rule: the rule that must catch it; "" plants no defect."""

    rule: str
    options: dict[str, int]
    rows: int = 64
    page: int = 64

    def __str__(self) -> str:
        return f"planted {self.rule or 'nothing'}"

    def run(self, device: torch.device) -> None:
        """Launch it, unless this backend cannot have the defect."""
        if self.rule == "packed" and torch.version.hip:
            return
        pages = torch.empty(1024, self.page, 64, dtype=torch.bfloat16, device=device)
        q = torch.empty(self.rows, 64, dtype=torch.bfloat16, device=device)
        out = torch.empty(self.rows, self.page, dtype=torch.float32, device=device)
        launch: Any = _planted_kernel[(1,)]
        options = self.options
        if self.rule == "spills":  # the running maxima and products need more registers
            options = options | ({"waves_per_eu": 8} if torch.version.hip else {"maxnreg": 96})
        launch(pages, q, out, 1024, 2, S=self.page, ROWS=self.rows, DEFECT=self.rule, **options)


CANARIES = (
    Canary("", {"num_warps": 4, "num_stages": 2}),
    Canary("compiles", {"num_warps": 4, "num_stages": 2}),
    Canary("spills", {"num_warps": 4, "num_stages": 1}, rows=128),
    Canary("shared", {"num_warps": 4, "num_stages": 7}, page=256),
    Canary("matrix", {"num_warps": 4, "num_stages": 2}, rows=16),
    Canary("keys", {"num_warps": 4, "num_stages": 2}),
    Canary("packed", {"num_warps": 4, "num_stages": 2}),
)


def judge(architectures: Iterable[str], processes: int, cache: Cache) -> dict[tuple[str, str], list[str]]:
    """(architecture, canary) -> the rules it broke."""
    sweep = run_calls(CANARIES, [ARCHITECTURES[name] for name in architectures])
    assert not sweep.problems, sweep.problems
    results = compile_all(sweep.configurations, processes, cache)
    return {
        (planted.architecture, planted.label): [
            *map(str, broken_rules(compiled, ARCHITECTURES[planted.architecture])),
            *[f"not judged: {compiled.unjudged}"] * bool(compiled.unjudged),
        ]
        for planted, compiled in zip(sweep.configurations, results, strict=True)
    }


def run(architectures: Iterable[str], processes: int, cache: Cache, say: Callable[[str], None] = print) -> int:
    """Judge all canaries. Exit status 1: one survived, or the sound kernel failed."""
    escaped = 0
    expected = {str(canary): canary.rule for canary in CANARIES}
    for (architecture, name), broken in judge(architectures, processes, cache).items():
        rule = expected[name]
        # Spills that no tool of this Triton can judge are reported, as in the gate, and do not save the canary.
        is_unjudged = rule == "spills" and any(line.startswith("not judged: ") for line in broken)
        is_right = is_unjudged or any(line.startswith(f"{rule}: ") for line in broken) if rule else not broken
        escaped += not is_right
        verdict = "without a verdict" if is_unjudged else "as it must" if is_right else "NOT AS IT MUST"
        say(f"{architecture} {name}: {verdict}: {'; '.join(broken) or 'green'}")
    return int(escaped > 0)
