"""Mutants of the decode scorer on Hopper: what only its pages asked for ahead and its zeroed rows can get wrong."""

from fuzz.canaries.kernels.mutant import Mutant

_PATH = "ops/decode_sm90.py"


def _mutant(name: str, sentence: str, old: str, new: str, *laws: str, defect: str = "systematic") -> Mutant:
    return Mutant(f"decode_sm90_{name}", sentence, _PATH, old, new, "decode", laws, defect=defect, needs=("gpu",))


MUTANTS = [
    _mutant(
        "last_share_short",
        "The blocks that are left over when all programs have as many go to nobody.",
        "end = position + share + (program < rest).to(gl.int32)",
        "end = position + share",
        "Best",
        "Runs",
        defect="D22",
    ),
    _mutant(
        "blocks_rounded_down",
        "A request's last partial block is not scored.",
        "(gl.maximum(seq_lens, 0) + S - 1) // S",
        "gl.maximum(seq_lens, 0) // S",
        "Best",
        "Runs",
        "Forced",
    ),
    _mutant(
        "idle_requests_scored",
        "Requests without query tokens are given blocks, too, and their table is read.",
        "gl.where(q_ends > q_starts, (gl.maximum(seq_lens, 0) + S - 1) // S, 0)",
        "(gl.maximum(seq_lens, 0) + S - 1) // S",
        "Best",
        "Runs",
        "PoisonBlind",
        defect="D16",
    ),
    _mutant(
        "phase_not_flipped",
        "A program waits for its first page alone.",
        "phase = phase ^ 1",
        "phase = phase ^ 0",
        "Best",
        "Runs",
        "RepeatDeterminism",
    ),
    _mutant(
        "page_of_the_request_before",
        "The first page of the next request is looked up in the table of the one before.",
        "            if ahead >= ahead_stop:\n                ahead_stop",
        "            if ahead > ahead_stop:\n                ahead_stop",
        "Best",
        "Runs",
    ),
    _mutant(
        "request_not_noticed",
        "A request that begins after an odd number of a program's blocks is taken for the one before.",
        "if position >= stop:  # another",
        "if (position >= stop) & (phase == 0):  # another",
        "Best",
        "Runs",
    ),
    _mutant(
        "page_read_late",
        "A page is looked up two blocks on.",
        "ahead = position + 1",
        "ahead = position + 2",
        "Best",
        "Runs",
    ),
    _mutant(
        "mask_from_the_last_token",
        "Blocks that the last token sees whole count as seen whole by every token.",
        "if (block + 1) * S > context_len + 1:",
        "if (block + 1) * S > context_len + query_len:",
        "Best",
        "PoisonBlind",
        defect="D11",
    ),
    _mutant(
        "sees_the_next",
        "Every token sees the token behind it.",
        "< (context_len + token + 1)[None, :]",
        "< (context_len + token + 2)[None, :]",
        "Best",
        "PoisonBlind",
        defect="D11",
    ),
    _mutant(
        "rows_one_more",
        "Rows of the token behind a request's last are stored.",
        "best, mask=token < query_len)",
        "best, mask=token <= query_len)",
        "Best",
        "Runs",
        "NeighbourIndependence",
    ),
    _mutant(
        "filler_forgotten",
        "Scores behind a request's last block, which are read with it, are left as they are.",
        "if position + 1 == stop:",
        "if position + 1 == 0:",
        "Best",
        "Runs",
        "RepeatDeterminism",
        "PoisonBlind",
        defect="D18",
    ),
    _mutant(
        "filler_at_the_end_of_a_share",
        "Scores behind a share's last block are overwritten.",
        "if position + 1 == stop:",
        "if position + 1 == end:",
        "Best",
        "Runs",
        "RepeatDeterminism",
        "PoisonBlind",
        defect="D18",
    ),
]
