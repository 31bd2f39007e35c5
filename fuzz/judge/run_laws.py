"""The laws about whole runs, each a sentence, and the chapter that explains a law, whichever it is about.

Beside these laws stand `msa_ref.rows.ROW_LAWS` about rows, and `msa_ref.laws.BATCH_LAWS` between runs.
"""

from dataclasses import dataclass

from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS


@dataclass(frozen=True)
class RunLaw:
    """One law about whole runs. chapter: the page and the heading of the walk-through that explain it."""

    sentence: str
    chapter: str


TOUCHED = "04-pages.md#what-a-kernel-may-touch"
LEFT_ALONE = "10-fuzzing.md#what-a-run-must-leave-alone"
MERGED = "08-splitting-a-row.md#a-selection-can-be-merged"
IN_A_GRAPH = "08-splitting-a-row.md#the-same-work-in-a-graph"
STREAMS = "09-asynchrony.md#streams"
"""Pages and headings that explain several laws."""

RUN_LAWS = {
    "Runs": RunLaw("A case within its limits runs, without a refusal or an exception.", LEFT_ALONE),
    "Refuses": RunLaw(
        "A call that breaks a rule of its arguments is refused in a sentence, and nothing is written.",
        "07-a-first-kernel.md#the-launcher",
    ),
    "Shape": RunLaw(
        "The answer is [H, T, K] int32, and is `out` where `out` is given.",
        "03-heads-and-tokens.md#3-many-heads-many-tokens-causality",
    ),
    "WritesAll": RunLaw("No element of the answer keeps the marker that was there before the run.", TOUCHED),
    "WritesOnly": RunLaw(
        "Nothing is written but the answer's rows, and memory of the target's own up to its ends.", TOUCHED
    ),
    "Workspace": RunLaw(
        "A target that says how much workspace it needs writes to just that, and allocates no more than an answer.",
        LEFT_ALONE,
    ),
    "ReadsOnly": RunLaw("No input is written to, nor the margins of its buffer.", TOUCHED),
    "OwnMemory": RunLaw(
        "The answer lies in `out`, or in no input's memory; there no later call changes it, unless it is bound.",
        TOUCHED,
    ),
    "LeavesState": RunLaw(
        "A run that is not the first leaves the process's random generators and settings as they were.", LEFT_ALONE
    ),
    "HandsOff": RunLaw("The judge, the reference and the case are left as they are.", LEFT_ALONE),
    "SplitInvariance": RunLaw("Every split count gives the same bits.", MERGED),
    "RepeatDeterminism": RunLaw("A second run on the same inputs gives the same bits.", MERGED),
    "OwnStream": RunLaw("A run on a side stream, whose inputs are written late, agrees as the first one did.", STREAMS),
    "Undisturbed": RunLaw("A run beside another stream's noise gives the bits of the run alone.", STREAMS),
    "TwoThreads": RunLaw(
        "Two threads' calls in turn, each with its own tensors, and at once where that is promised, answer as alone.",
        STREAMS,
    ),
    "Replay": RunLaw("A run after the buffers' contents changed agrees as the first one did.", IN_A_GRAPH),
    "GraphIsEager": RunLaw("A bound target gives the bits of an eager run on the same buffers.", IN_A_GRAPH),
    "Score": RunLaw(
        "Every visible block's score that a target shows lies inside its interval, a point where sums are exact.",
        "06-inexact-sums.md#the-bound",
    ),
    "Superblocks": RunLaw(
        "The best score of a superblock that a target shows is the best of its visible blocks' own.", MERGED
    ),
    "Exact": RunLaw("The answer is the reference's, bit for bit.", "06-inexact-sums.md#where-sums-are-exact"),
}
"""Name of each law about whole runs -> the law."""


WALKTHROUGH = "msa_ref/walkthrough/"
"""The folder of the chapters in the repository."""


def chapter_of(law: str) -> str:
    """The path in the repository, and the heading, of the text that explains a law."""
    return WALKTHROUGH + (ROW_LAWS.get(law) or RUN_LAWS.get(law) or BATCH_LAWS[law]).chapter
