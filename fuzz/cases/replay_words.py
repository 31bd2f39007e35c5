"""A case in a few words, and its replay script, one line for each step."""

from collections.abc import Iterator

from fuzz.cases.case import Case, Step

BETWEEN_WORDS = {
    "eager": "an eager call on the same buffers; ",
    "elsewhere": "an eager call on other allocations; ",
    "unread": "a replay that nobody reads; ",
}
LATE_WORDS = {"query": "reverse the heads of a late query alone", "page": "negate the keys of a late page alone"}


def case_in_words(case: Case) -> str:
    """A case in a few words."""
    config = case.config
    lens = ", ".join(f"{r.query_len} of {r.seq_len}" for r in case.requests[:4])
    more = f" and {len(case.requests) - 4} more" if len(case.requests) > 4 else ""
    size = f"H {config.num_index_heads}, D {config.index_head_dim}, S {config.block_size}, K {config.topk_blocks}"
    steps = f", {len(case.replay)} replay{'s' * (len(case.replay) > 1)}" if case.replay else ""
    forced = f"init {config.init_blocks}, local {config.local_blocks}"
    return f"{size}, {forced}; tokens {lens}{more}; {case.values.family}{steps}"


def script_lines(case: Case) -> list[str]:
    """A case's script: a line for the capture, then one for each replay with the changes before it."""
    if not case.replay:
        return []
    lengths = ", ".join(f"{r.query_len} of {r.seq_len}" for r in case.requests)
    lines = [f"capture   requests with {lengths} tokens; run"]
    for number, (before, step) in enumerate(zip(case.states, case.replay, strict=False), 1):
        changes = list(_words(before, step))
        lines.append(f"step {number:<4} {BETWEEN_WORDS.get(step.between, '')}{', '.join(changes) or 'nothing'}; replay")
    return lines


def _words(before: Step, step: Step) -> Iterator[str]:
    for req, (old, new) in enumerate(zip(before.requests, step.requests, strict=True)):
        if old.query_len != new.query_len:
            yield f"request {req} now brings {new.query_len} tokens"
        if old.seq_len == new.seq_len:
            continue
        if new.seq_len == 0:
            yield f"finish request {req}"
        elif old.seq_len == 0:
            yield f"start request {req} with {new.seq_len} tokens"
        elif new.is_appended_to(old):
            yield f"append {new.seq_len - old.seq_len} to request {req}"
        else:
            word = "grow" if new.seq_len > old.seq_len else "shrink"
            yield f"{word} request {req} from {old.seq_len} to {new.seq_len} tokens"
    if step.is_remapped:
        yield "remap the pages"
    if step.values_seed:
        yield "change the values"
    if step.late:
        yield LATE_WORDS[step.late]
    if step.is_turned:
        yield "reverse the order of the heads' queries"
