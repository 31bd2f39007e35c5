"""The rows of the list of field defects, and those that are shown by a test of their own."""

FIELD_DEFECTS = [f"D{number:02}" for number in range(1, 41)]

SHOWN_ELSEWHERE = {
    "D36": ("fast/test_indexer_compile.py", "no wrong answer: compilations are counted, a specialising kernel caught"),
    "D37": ("ref/test_refusals.py", "no wrong answer: the batch and the builder refuse a table that is too narrow"),
}
"""Field defects that are no wrong answer of a target, so that no planted defect and no case in the corpus
can show them: the test that plays their part, and why."""
