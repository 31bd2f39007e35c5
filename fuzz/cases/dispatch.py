"""Which ways through the kernels a case takes, asked of the launchers' own tables."""

from collections.abc import Iterator

from fuzz.cases.case import Case
from fuzz.cases.replay_script import MAX_DECODE_QUERY_LEN

_ROUNDS = {1: "one round", 2: "two rounds", 3: "three rounds", 4: "four rounds"}


def paths(case: Case) -> Iterator[str]:
    """The dispatch choices that depend on a case, in words."""
    # Imported late: triton reads TRITON_INTERPRET once, when kernels are first imported.
    from msa_fast.ops.checks import next_power_of_2
    from msa_fast.ops.launch_table import ANY, MOST_RUNS, MOST_RUNS_OF_BEST, SUPERBLOCK
    from msa_fast.ops.topk import rounds

    is_decode = case.decode_query_len <= MAX_DECODE_QUERY_LEN
    yield "decode and prefill" if is_decode else "prefill alone"
    yield f"products of {'4' if case.dtype == 'float32' else '2'}-byte elements"
    k = next_power_of_2(case.config.topk_blocks)
    most = max(1, *(case.num_blocks(req) for req in range(len(case.requests))))
    lengths, _ = rounds(k, most, 0, MOST_RUNS[ANY])
    yield f"selection in {_ROUNDS[len(lengths)]}"
    lengths, _ = rounds(k, most, SUPERBLOCK[ANY], MOST_RUNS_OF_BEST[ANY])
    if len(lengths) > 1:
        yield f"prefill selection by superblocks in {_ROUNDS[len(lengths)]}"
    if case.replay:
        yield "replayed"
