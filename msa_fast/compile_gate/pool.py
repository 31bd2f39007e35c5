"""Measure many jobs in processes of their own, so that a compiler that dies takes one job with it."""

import hashlib
import json
import multiprocessing
import os
import queue
import re
import tempfile
import threading
from collections.abc import Callable
from dataclasses import fields
from multiprocessing.connection import Connection
from pathlib import Path

import triton
from triton import knobs

from msa_fast.compile_gate.compile import measure
from msa_fast.compile_gate.compiled import Measured
from msa_fast.compile_gate.configurations import Job

MOST_SECONDS = 300
"""A compiler that takes longer than this for one kernel counts as dead."""


class Cache:
    """Results by everything that they depend on, as small files; None as folder means no cache."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        here = Path(__file__).parent
        readers = "".join((here / name).read_text() for name in _READERS)
        self.salt = hashlib.sha256((triton.__version__ + readers).encode()).hexdigest()

    @staticmethod
    def default() -> Path:
        """Beside Triton's own cache of compiled kernels."""
        return Path(knobs.cache.dir) / "compile_gate"

    def get(self, job: Job) -> Measured | None:
        """The result of a job, if it is known."""
        path = self._path(job)
        if path is None or not path.exists():
            return None
        data = json.loads(path.read_text())
        return Measured(**data) if data.keys() == {field.name for field in fields(Measured)} else None

    def put(self, job: Job, result: Measured) -> None:
        """Remember a result. Failures are not kept: they are what one works on."""
        path = self._path(job)
        if path is None or result.error:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(result.as_json()))
        unfinished.replace(path)

    def _path(self, job: Job) -> Path | None:
        if self.folder is None:
            return None
        text = "\0".join((self.salt, job.kernel, job.target, job.spec, job.source))
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


_READERS = ("targets.py", "compile.py", "compiled.py", "read_nvidia.py", "read_amd.py", "control_flow.py")


def measure_all(
    jobs: list[Job], processes: int, cache: Cache, on_result: Callable[[int, int], None] = lambda done, total: None
) -> list[Measured]:
    """Measure all jobs, in their order; `on_result` is told how many are done."""
    results: list[Measured | None] = [cache.get(job) for job in jobs]
    missing: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i, result in enumerate(results):
        if result is None:
            missing.put(i)
    total = missing.qsize()
    lock = threading.Lock()
    done = 0

    def serve() -> None:
        nonlocal done
        worker = None
        while True:
            try:
                i = missing.get_nowait()
            except queue.Empty:
                break
            worker = worker or _Worker()
            result = worker.ask(jobs[i])
            if result is None:
                result = Measured(error=f"the compiler died: {worker.end()} {said(worker.log.name)}".strip())
                worker = None
            cache.put(jobs[i], result)
            with lock:
                results[i] = result
                done += 1
                on_result(done, total)
        if worker:
            worker.end()

    threads = [threading.Thread(target=serve) for _ in range(min(processes, total))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [result if result is not None else Measured(error="was not measured") for result in results]


class _Worker:
    """A process that measures one job after another."""

    def __init__(self) -> None:
        # Not a fork: this process has threads.
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.log = tempfile.NamedTemporaryFile(prefix="compile-gate-")  # noqa: SIM115  (lives as long as the worker)
        self.process = context.Process(target=_work, args=(other, self.log.name), daemon=True)
        self.process.start()
        other.close()

    def ask(self, job: Job) -> Measured | None:
        """A job's result, or None if the process died or hangs."""
        try:
            self.connection.send(job)
            return self.connection.recv() if self.connection.poll(MOST_SECONDS) else None
        except (EOFError, OSError):
            return None

    def end(self) -> str:
        """Stop the process and say how it ended."""
        self.connection.close()
        self.process.join(timeout=5)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            return f"no answer within {MOST_SECONDS} s"
        return f"exit status {self.process.exitcode}"


def _work(connection: Connection, log: str) -> None:
    # Compilers write their reasons to file descriptor 2, below Python.
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        os.truncate(log, 0)
        result = measure(job)
        if result.error:
            result.error = f"{result.error} {said(log)}".strip()
        connection.send(result)


def said(log: str) -> str:
    """The first line of a compiler's own words that tells of an error, or nothing."""
    lines = Path(log).read_text(errors="replace").splitlines()
    return next((line.strip() for line in lines if re.search(r"error ?:|ERROR:|fatal ", line)), "")
