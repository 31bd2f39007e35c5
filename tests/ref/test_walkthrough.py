"""The walkthrough's code runs from top to bottom and prints what the text says."""

import contextlib
import io
import re
from pathlib import Path

import msa_ref

TEXT = (Path(msa_ref.__file__).parent / "walkthrough" / "README.md").read_text()


def test_the_walkthrough_prints_what_it_says():
    namespace: dict = {}
    printed = ""
    blocks = re.findall(r"```(python|output)\n(.*?)```", TEXT, re.S)
    assert len(blocks) > 10
    for kind, body in blocks:
        if kind == "python":
            assert printed == "", f"the text does not show {printed!r}"
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                exec(compile(body, "walkthrough", "exec"), namespace)
            printed = stdout.getvalue()
        else:
            assert printed == body
            printed = ""
    assert printed == ""


def test_every_file_that_the_walkthrough_names_exists():
    root = Path(msa_ref.__file__).parents[1]
    names = re.findall(r"`((?:msa_ref|tests)/[\w/.]+)`", TEXT)
    assert names
    assert [name for name in names if not (root / name).exists()] == []
