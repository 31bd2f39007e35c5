"""The judge's worth, from the published score: one line, and a page."""

from fuzz.scoring.published import PUBLISHED, read_published
from fuzz.scoring.score_page import headline, score_page
from fuzz.scoring.scoreboard import Score
from fuzz.scoring.trials import planted


def judge_headline() -> str:
    """How many planted defects die, and links to the score and to bugs that were not planted."""
    links = "[score](fuzz/SCORE.md), [field defects](fuzz/FIELD-DEFECTS.md), [bugs found](fuzz/BUGS-FOUND.md)"
    return f"{headline(_score())}: {links}."


def score_document() -> str:
    """The page of the score."""
    return score_page(_score()).removesuffix("\n")


def _score() -> Score:
    return read_published(PUBLISHED, planted())
