"""The laws about whole runs, each a sentence; beside them stand `msa_ref.rows.ROW_LAWS` about rows."""

RUN_LAWS = {
    "Runs": "A case within its limits runs, without a refusal or an exception.",
    "Shape": "The answer is [H, T, K] int32, and is `out` where `out` is given.",
    "WritesAll": "No element of the answer keeps the marker that was there before the run.",
    "WritesOnly": "Nothing is written but the answer's rows, and memory of the target's own up to its ends.",
    "ReadsOnly": "No input is written to, nor the margins of its buffer.",
    "OwnMemory": "The answer lies in `out`, or in no input's memory.",
    "LeavesState": "A run that is not the first leaves the process's random generators and settings as they were.",
    "HandsOff": "The judge, the reference and the case are left as they are.",
    "SplitInvariance": "Every split count gives the same bits.",
    "RepeatDeterminism": "A second run on the same inputs gives the same bits.",
    "OwnStream": "A run on a side stream, whose inputs are written late, agrees as the first one did.",
    "Undisturbed": "A run beside another stream's noise gives the bits of the run alone.",
    "Replay": "A run after the buffers' contents changed agrees as the first one did.",
    "GraphIsEager": "A bound target gives the bits of an eager run on the same buffers.",
    "Score": "Every visible block's score that a target shows lies inside its interval, a point where sums are exact.",
    "Superblocks": "The best score of a superblock that a target shows is the best of its visible blocks' own.",
    "Exact": "The answer is the reference's, bit for bit.",
}
"""Name of each law about whole runs -> its sentence."""
