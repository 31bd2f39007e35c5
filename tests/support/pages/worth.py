"""The judge's worth in one line, from the published score."""

from fuzz.scoring.published import PUBLISHED, read_published
from fuzz.scoring.score_page import headline
from fuzz.scoring.trials import planted


def judge_headline() -> str:
    """How many planted defects die, and links to the score and to bugs that were not planted."""
    told = headline(read_published(PUBLISHED, planted()))
    return f"{told}: [score](fuzz/SCORE.md). What it found elsewhere: [bugs found](fuzz/BUGS-FOUND.md)."
