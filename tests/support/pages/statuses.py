"""The exit statuses, as documents list them."""

import textwrap

from fuzz.report.statuses import STATUSES


def statuses_in_words() -> str:
    """The table of exit statuses as a sentence."""
    words = "; ".join(f"{status} {words}" for status, words in STATUSES.items())
    return textwrap.fill(f"Exit status: {words}.", 120)
