"""The exit statuses of the commands, one table: help, documents and records read it."""

AGREED, BROKE, REFUSED, UNJUDGED, THIN, INTERRUPTED = 0, 1, 2, 3, 4, 130

STATUSES = {
    AGREED: "all agreed",
    BROKE: "a law broke, a planted defect lived, or the run ended early",
    REFUSED: "bad arguments",
    UNJUDGED: "a target was judged by no case",
    THIN: "a target was judged by too few cases",
    INTERRUPTED: "interrupted before it could report",
}
"""Exit status -> when a command ends with it."""
