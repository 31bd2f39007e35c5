"""Right targets that start processes and threads, and use their own process's streams and signals."""

import asyncio
import concurrent.futures
import importlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from functools import cache
from typing import Any

import torch

from fuzz.targets import Call
from tests.support.honest_zoo.register import honest, right


def _double(number: int) -> int:
    return 2 * number


@honest
def starts_processes(call: Call) -> torch.Tensor:
    """A program, a pool of forked processes that it never closes, and an executor of processes."""
    assert subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, check=True).stdout == b"7\n"
    pool = multiprocessing.get_context("fork").Pool(1)
    assert pool.map(_double, [1, 2]) == [2, 4]
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        assert executor.submit(_double, 3).result() == 6
    return right(call)


@honest
def spawns(call: Call) -> torch.Tensor:
    """A torch process that is spawned, not forked, at its first call."""
    _spawn()
    return right(call)


@cache
def _spawn() -> None:
    process = importlib.import_module("torch.multiprocessing").get_context("spawn").Process(target=_double, args=(1,))
    process.start()
    process.join()
    assert process.exitcode == 0


@honest
def forks(call: Call) -> torch.Tensor:
    """A fork that ends by itself, and is waited for."""
    pid = os.fork()
    if not pid:
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    return right(call)


@honest
def leaves_processes(call: Call) -> torch.Tensor:
    """A program that outlives its call, and a process that nobody waits for."""
    subprocess.Popen(["sleep", "30"])
    if not os.fork():
        os._exit(0)
    return right(call)


@honest
def answers_from_a_thread(call: Call) -> torch.Tensor:
    """Threads that allocate and answer, and one that stays."""
    threading.Thread(target=threading.Event().wait, args=(30,), daemon=True).start()
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        executor.submit(torch.empty, 3, dtype=torch.float8_e5m2).result()
        return executor.submit(right, call).result()


@honest
def awaits(call: Call) -> torch.Tensor:
    """An event loop."""

    async def answer() -> torch.Tensor:
        await asyncio.sleep(0)
        return right(call)

    return asyncio.run(answer())


@honest
def talks(call: Call) -> torch.Tensor:
    """Megabytes on both streams, logs and warnings."""
    for stream in (sys.stdout, sys.stderr):
        stream.write(" " * 2**20)
        stream.flush()
    os.write(1, b" " * 2**16)
    logging.getLogger("zoo").error(" ")
    warnings.warn(" ", stacklevel=1)
    return right(call)


@honest
def closes_its_streams(call: Call) -> torch.Tensor:
    """Standard input and output closed, as a daemon does."""
    for number in (0, 1):
        try:
            os.close(number)
        except OSError:  # closed by an earlier call
            continue
    return right(call)


@honest
def sets_an_alarm(call: Call) -> torch.Tensor:
    """A time limit of its own, by signals, and other handlers."""

    def too_late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(50)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return right(call)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@honest
def hands_its_inputs_to_processes(call: Call) -> torch.Tensor:
    """An input that another process reads in shared memory."""
    pool = _pool_of_torch()
    assert pool.apply(_sum_of, (call.batch.seq_lens,)) == sum(call.seq_lens)
    return right(call)


@cache
def _pool_of_torch() -> Any:
    return importlib.import_module("torch.multiprocessing").get_context("fork").Pool(1)


def _sum_of(lens: torch.Tensor) -> int:
    return int(lens.sum())
