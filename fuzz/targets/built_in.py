"""The table of what can be judged. A target takes a `Call` and returns topk_idx, or fills `call.out`."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from fuzz.inputs.scene import Scene
from fuzz.targets.profiles import read_profile
from msa_ref import PagedBatch, index_topk
from msa_ref.config import require
from msa_ref.profile import CONTRACT, Profile


def unseen(score: torch.Tensor, best: torch.Tensor | None = None, each: int = 0, is_lazy: bool = False) -> None:
    """What `Call.show` is where nobody looks."""


@dataclass(frozen=True, eq=False)
class Call:
    """What a target is given for one run.

    batch: the inputs. out: [H, >= T, K] int32 to write, rows past T left alone, or None; it is
        [>= T, H, K] for a target whose profile is token-major.
    score: [H, T, max_blocks] float32 for targets that take scores, else None.
    decode_query_len: bound on every query length, now and after changes of the buffers.
    num_splits: None leaves it to the target.
    query_lens, seq_lens: this run's lengths, on the host. host_slack: what a host that does not know
        them yet would add to seq_lens, to be on the safe side.
    kernels: the package that the built-in targets take their kernels from.
    room: [H, T, max_blocks] float32, any strides, for targets that are told where to put their scores;
        None leaves it to them.
    show: a target may call it with the scores [H, T, N] that it selects by. They are judged then, too
        (law `Score`), and the selection on just these scores. So are (law `Superblocks`) the best scores
        [H, T, ceil(N / each)] of superblocks of `each` blocks, where it calls show(score, best, each).
        show(..., is_lazy=True) says that rows that see no more blocks than they select may be unscored.
    """

    batch: PagedBatch
    out: torch.Tensor | None
    score: torch.Tensor | None
    decode_query_len: int
    num_splits: int | None
    query_lens: list[int]
    seq_lens: list[int]
    host_slack: int = 0
    kernels: str = "msa_fast"
    room: torch.Tensor | None = None
    show: Callable[..., None] = unseen

    @property
    def seq_len_bounds(self) -> list[int]:
        """No request is longer than this, on the host."""
        return [seq_len + self.host_slack for seq_len in self.seq_lens]


Run = Callable[[Call], torch.Tensor]


@dataclass(frozen=True)
class Target:
    """One thing to judge, and its limits.

    kind: `decode` takes batches of few query tokens per request; `prefill`, `any` and `foreign` take
        all. Production shapes go to targets of their own kind and to foreign ones.
    takes_score: given a score matrix and judged on it. takes_room: told where to put scores.
    has_splits: obeys `call.num_splits`.
    is_kernel: under the kernels' limits (D and S powers of two, 16 .. 256).
    is_graph: captured once per case as a CUDA graph, then replayed.
    profile: what it promises; a case outside of it is Undefined.
    bind: makes of one call a function that replays it: how a target without a CUDA graph is captured.
    """

    name: str
    sentence: str
    kind: str
    run: Run
    takes_score: bool = False
    takes_room: bool = False
    has_splits: bool = False
    is_kernel: bool = False
    is_graph: bool = False
    profile: Profile = CONTRACT
    bind: "Callable[[Call], Callable[[], torch.Tensor]] | None" = None

    @property
    def is_bound(self) -> bool:
        """Whether a run keeps the call that it began with, as a CUDA graph does."""
        return self.is_graph or self.bind is not None

    @property
    def has_replay(self) -> bool:
        """Prefill is planned anew for every batch, so nothing of it outlives a change of the buffers; nor do scores."""
        return self.kind in ("decode", "foreign") and not self.takes_score

    def limits(self, scene: Scene) -> str | None:
        """Why a case is outside the target's profile; None if it is inside."""
        config = scene.case.config
        if self.is_graph and scene.device.type != "cuda":
            return "graphs need a CUDA device"
        if self.bind is not None and not scene.case.replay:
            return "nothing is replayed"
        if self.kind == "decode" and scene.case.decode_query_len > MAX_DECODE_QUERY_LEN:
            return f"more than {MAX_DECODE_QUERY_LEN} query tokens in a request"
        if self.is_kernel:
            for size in (config.index_head_dim, config.block_size):
                if not (16 <= size <= 256 and size & (size - 1) == 0):
                    return "head dim or block size is no power of two within 16 .. 256"
        return None

    def open(self, scene: Scene, num_splits: int) -> Callable[[], torch.Tensor]:
        """Prepare runs on a scene, whose contents may change between them."""
        if self.bind is not None:
            return self._bound(self.bind, scene, num_splits)
        run = self.eager(scene, num_splits)
        return _captured(run, scene.new_out) if self.is_graph else run

    def eager(self, scene: Scene, num_splits: int) -> Callable[[], torch.Tensor]:
        """Runs that take everything anew each time."""

        def run() -> torch.Tensor:
            return self.run(self._call(scene, num_splits))

        return run

    def _bound(
        self, bind: Callable[[Call], Callable[[], torch.Tensor]], scene: Scene, num_splits: int
    ) -> Callable[[], torch.Tensor]:
        """Runs of one call, made at the first of them and kept, whatever the host learns later."""
        bound = list[Callable[[], torch.Tensor]]()

        def run() -> torch.Tensor:
            if not bound:
                bound.append(bind(self._call(scene, num_splits)))
            return bound[0]()

        return run

    def _call(self, scene: Scene, num_splits: int) -> Call:
        out = scene.present_out
        return Call(
            batch=scene.batch,
            out=None if out is None else self.profile.head_major(out),
            score=scene.score() if self.takes_score else None,
            decode_query_len=scene.case.decode_query_len,
            num_splits=num_splits or None,
            query_lens=scene.query_lens,
            seq_lens=scene.seq_lens,
            host_slack=scene.case.host_slack,
            room=scene.room() if self.takes_room else None,
            show=scene.show,
        )


MAX_DECODE_QUERY_LEN = 8


def _captured(run: Callable[[], torch.Tensor], mark_out: Callable[[], object]) -> Callable[[], torch.Tensor]:
    """A function that replays a CUDA graph of `run`, captured on the first call."""
    graph, answer = torch.cuda.CUDAGraph(), list[torch.Tensor]()

    def replay() -> torch.Tensor:
        if not answer:
            run()  # compiles and allocates what a capture must not
            torch.cuda.synchronize()
            # Not `torch.cuda.graph`: it collects garbage and empties caches at every capture.
            with torch.cuda.stream(torch.cuda.Stream()):
                graph.capture_begin()
                try:
                    captured = run()
                finally:
                    graph.capture_end()
            torch.cuda.synchronize()
            answer.append(captured)
            mark_out()  # so that only the replay can have written what is judged
        graph.replay()
        return answer[0]

    return replay


# Imported by name when they run: triton reads TRITON_INTERPRET once, when kernels are first imported.


SLAB_BYTES = 1024
"""Room for scores in prefill, for each split: one query tile's at least, in a small case a few."""


def _prefill(call: Call) -> torch.Tensor:
    kernels, batch = importlib.import_module(call.kernels), call.batch
    # Where splits are given, little room for scores too: several slabs, and other ones for other splits.
    room = {} if call.num_splits is None else {"workspace_bytes": SLAB_BYTES * call.num_splits}
    plan = kernels.PrefillPlan.build(
        batch.config, call.query_lens, call.seq_len_bounds, batch.device, num_splits=call.num_splits, **room
    )
    topk_idx: torch.Tensor = kernels.minimax_m3_index_prefill(batch, plan, out=call.out)
    return topk_idx


def _prefill_apart(call: Call) -> torch.Tensor:
    kernels, batch = importlib.import_module(call.kernels), call.batch
    plan = kernels.PrefillPlan.build(
        batch.config, call.query_lens, call.seq_len_bounds, batch.device, num_splits=call.num_splits
    )
    best = None
    if call.num_splits is not None:  # where splits are given, the best scores of superblocks are asked for, too
        shape = (batch.total_q, batch.config.num_index_heads, -(-batch.max_blocks // plan.superblock))
        best = torch.empty(shape, dtype=torch.float32, device=batch.device).transpose(0, 1)
    score = kernels.minimax_m3_index_score(batch, plan, out=call.room, superblock_score=best)
    call.show(score, best, plan.superblock)
    topk_idx: torch.Tensor = kernels.minimax_m3_index_topk(score, batch, plan, out=call.out, superblock_score=best)
    return topk_idx


def _topk(call: Call) -> torch.Tensor:
    kernels, batch = importlib.import_module(call.kernels), call.batch
    plan = kernels.PrefillPlan.build(batch.config, call.query_lens, call.seq_len_bounds, batch.device)
    assert call.score is not None
    topk_idx: torch.Tensor = kernels.minimax_m3_index_topk(call.score, batch, plan, out=call.out)
    return topk_idx


def _decode_topk(call: Call) -> torch.Tensor:
    kernels = importlib.import_module(call.kernels)
    assert call.score is not None
    topk_idx: torch.Tensor = kernels.minimax_m3_index_decode_topk(
        call.score, call.batch, call.decode_query_len, out=call.out
    )
    return topk_idx


def _decode(call: Call) -> torch.Tensor:
    kernels = importlib.import_module(call.kernels)
    topk_idx: torch.Tensor = kernels.minimax_m3_index_decode(
        call.batch, call.decode_query_len, num_splits=call.num_splits, out=call.out
    )
    return topk_idx


def _decode_shown(call: Call) -> torch.Tensor:
    kernels = importlib.import_module(call.kernels)
    topk_idx: torch.Tensor
    topk_idx, score = kernels.minimax_m3_index_decode_with_score(
        call.batch, call.decode_query_len, num_splits=call.num_splits, out=call.out
    )
    call.show(score, is_lazy=True)
    return topk_idx


def _bind_decode(call: Call) -> Callable[[], torch.Tensor]:
    return partial(_decode, call)


def _reference(call: Call) -> torch.Tensor:
    return fill(call, index_topk(call.batch))


def fill(call: Call, topk_idx: torch.Tensor) -> torch.Tensor:
    """Hand an answer over as a kernel would: into `call.out` where there is one."""
    if call.out is None:
        return topk_idx
    call.out[:, : topk_idx.shape[1]] = topk_idx
    return call.out


BUILT_IN = {
    target.name: target
    for target in (
        Target("reference", "The reference itself; keeps the harness honest.", "any", _reference),
        Target("prefill", "Score kernel, then selection kernel.", "prefill", _prefill, has_splits=True, is_kernel=True),
        Target(
            "prefill-apart",
            "Score kernel, into a given matrix or its own, then selection kernel: the two called apart, scores judged.",
            "prefill",
            _prefill_apart,
            takes_room=True,
            has_splits=True,
            is_kernel=True,
        ),
        Target("topk", "Selection kernel alone, on designed scores.", "any", _topk, takes_score=True, is_kernel=True),
        Target(
            "decode-topk",
            "Decode's selection alone, on designed scores.",
            "decode",
            _decode_topk,
            takes_score=True,
            is_kernel=True,
        ),
        Target(
            "decode",
            "Decode kernel, called eagerly, scores judged.",
            "decode",
            _decode_shown,
            has_splits=True,
            is_kernel=True,
        ),
        Target(
            "decode-graph",
            "Decode kernel in a CUDA graph, captured once and replayed.",
            "decode",
            _decode,
            has_splits=True,
            is_kernel=True,
            is_graph=True,
        ),
        Target(
            "decode-bound",
            "Decode kernel bound once to its buffers and run through replay scripts, graph or not.",
            "decode",
            _decode,
            has_splits=True,
            is_kernel=True,
            bind=_bind_decode,
        ),
    )
}
"""Name -> target, in the order the gate judges them."""


def find(name: str) -> Target:
    """A target by name: a built-in one, or `module:callable` (a `Target`, or a function of a `Call`).

    A foreign function promises the whole contract unless it has an attribute `profile`, or a
    profile's JSON file follows its name: `module:callable@profile.json`.

    Raises:
        ValueError: one sentence, if there is none.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    require(":" in name, "target", f"must be one of {', '.join(BUILT_IN)} or module:callable", repr(name))
    path, _, profile_path = name.partition("@")
    module, _, attribute = path.partition(":")
    found = getattr(importlib.import_module(module), attribute, None)
    require(callable(found) or isinstance(found, Target), "target", "must name a callable", repr(name))
    if isinstance(found, Target):
        profile = read_profile(Path(profile_path)) if profile_path else found.profile
        return replace(found, name=name, profile=profile)
    assert found is not None
    sentence = (getattr(found, "__doc__", None) or "A foreign kernel.").strip().splitlines()[0]
    profile = read_profile(Path(profile_path)) if profile_path else getattr(found, "profile", CONTRACT)
    require(isinstance(profile, Profile), "profile", "must be a msa_ref.profile.Profile", type(profile).__name__)
    return Target(name, sentence, "foreign", found, has_splits=True, profile=profile)
