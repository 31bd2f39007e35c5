"""One `fuzz run` in a process of its own, which leaves a record and a log beside it."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from fuzz.report.command_line import started
from fuzz.report.record import Record

REPORT_SECONDS = 60.0
"""Seconds that a shard has to write its record after the signal to end."""


class Shard:
    """A started run. path: of its record; the log has the same name and ends with `.log`."""

    def __init__(self, words: Sequence[str], gpu: str, path: Path) -> None:
        """Start it. words: its options. gpu: as CUDA_VISIBLE_DEVICES names it; empty for those of this process."""
        self._path, self.log = path, path.with_suffix(".log")
        self._path.unlink(missing_ok=True)
        command = started(["run", *words, "--json", str(path)])
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
        with self.log.open("wb") as file:
            self._process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)

    def end(self, deadline: float) -> Record | None:
        """Its record, once it has ended or a deadline is over; None if it left none."""
        end(self._process, deadline)
        return Record.from_json(self._path.read_text()) if self._path.exists() else None

    @property
    def loss(self) -> str:
        """A sentence about an ended shard that left no record."""
        return f"ended with status {self._process.returncode} and left no record: see {self.log.name}"


def end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for a process until a deadline; then let it report what it judged, and kill it if it does not."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
        return
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        process.wait(REPORT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
