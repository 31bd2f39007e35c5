"""The generated parts of the walk-through: a timeline, how engines break ties, and a gallery of real bugs."""

import re
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz import corpus
from fuzz.__main__ import main
from fuzz.canaries import CANARIES
from fuzz.canaries.field_defects import FIELD_DEFECTS
from fuzz.judge.run_laws import RUN_LAWS, WALKTHROUGH, chapter_of
from fuzz.targets.peers import PEERS
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS
from tests.support.markdown import ROOT

FOLDER = ROOT / "msa_ref" / "walkthrough" / "figures"
TIMELINES = {"sm_90": FOLDER / "timeline.svg", "sm_100": FOLDER / "timeline-sm100.svg"}
"""Architecture -> the picture of its timeline, written by `fuzz trace --svg`."""
SHOWN_MOMENTS = 64
"""Moments of the timeline that the chapter shows."""

LAWS = {*ROW_LAWS, *RUN_LAWS, *BATCH_LAWS}
CONTRACT_SAYS = "the lowest id first, among equals"

FIXES = {
    "D03": "The id is part of the key that is compared, so the order is total and arrival decides nothing.",
    "D06": "Forced and absent blocks are known by flags of their own, and take no part in the comparison of scores.",
    "D09": "Minus zero is mapped to plus zero before scores are turned into integers that sort.",
    "D10": "Tokens after the last one are masked to -inf, after the product and not before.",
    "D12": "The local block is computed for each query token, not for the request.",
    "D16": "Lengths are clamped at 0 before anything is divided or compared unsigned.",
    "D18": "A row's selection is bounded by its own length, not by what the buffer holds.",
    "D19": "What depends on lengths is read on the device; the host decides by shapes alone.",
    "D26": "Page ids are widened to 64 bits before they are multiplied by a stride.",
    "D31": "A tile ends where its request ends, for loads and for stores.",
    "D42": "Pages are looked up by block; nothing is kept per page.",
}
"""Field defect of the gallery -> the mend, in our words."""


def gallery() -> str:
    """A paragraph for each: cause, trigger, law, a command that shows it, and its mend."""
    parts = []
    for name, mend in FIXES.items():
        row = FIELD_DEFECTS[name]
        canary = next(
            canary
            for key, entry in corpus.entries().items()
            if entry.flag == name and (canary := key.partition("-")[2]) in CANARIES
        )
        parts.append(
            f"**{row.cause}** *Shows on:* {row.trigger}. *Caught by:* {_linked(row.caught_by)}. *Mend:* {mend}\n\n"
            f"```sh\npython -m fuzz replay fuzz/corpus/{name}-{canary}.json --device cpu"
            f" --target fuzz.canaries:{canary}\n```"
        )
    return "\n\n".join(parts)


def _linked(laws: str) -> str:
    """The laws of a sentence as links to the chapters that explain them."""
    return ", ".join(
        f"[{law}]({chapter_of(law).removeprefix(WALKTHROUGH)})" if law in LAWS else law for law in laws.split(", ")
    )


def ties() -> str:
    """The number of kernels read, and a row for those with one source: their promise of equals and of the order."""
    rows: dict[str, list[str]] = {}
    for name, peer in PEERS.items():
        path, _, words = peer.sources["tie_rule"].partition(" ")
        profile = peer.target.profile
        row = f"{peer.read}, `{path.rpartition('/')[2]}` | {words} | {profile.tie_rule} | {profile.order} |"
        rows.setdefault(row, []).append(name)
    num_packages = len({peer.read for peer in PEERS.values()})
    lines = [
        f"{len(PEERS)} kernels of {num_packages} packages, which say it in {len(rows)} places:\n",
        "| kernel | read in | it says | of equal scores | order of ids |",
        "|---|---|---|---|---|",
        *(f"| {', '.join(names)} | {row}" for row, names in rows.items()),
        f"| this suite's kernels | [the contract](../CONTRACT.md) | {CONTRACT_SAYS} | lowest-id | ascending |",
    ]
    return "\n".join(lines)


@cache
def timeline_and_picture(architecture: str) -> tuple[str, str]:
    """The lanes of a prefill scorer's first moments, and the picture, by `python -m fuzz trace`."""
    with TemporaryDirectory() as folder:
        with redirect_stdout(StringIO()) as printed:
            main(["trace", "--arch", architecture, "--svg", folder])
        (picture,) = Path(folder).glob("*.svg")
        lanes = [line[: 16 + SHOWN_MOMENTS].rstrip() for line in printed.getvalue().splitlines() if _is_lane(line)]
        return "\n".join(["```text", *lanes, "```"]), picture.read_text()


def timeline() -> str:
    """The lanes of the Hopper scorer."""
    return timeline_and_picture("sm_90")[0]


def timeline_sm100() -> str:
    """The lanes of the Blackwell scorer."""
    return timeline_and_picture("sm_100")[0]


def _is_lane(line: str) -> bool:
    return re.match(r" *(tensor copy|product|commit|the program|partition \d)  ", line) is not None
