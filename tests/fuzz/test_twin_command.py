"""`python -m fuzz twin` on machines of any kind."""

import os

import pytest

from fuzz.__main__ import main
from fuzz.commands.options import chosen


def test_twins_take_a_numpy_that_the_interpreter_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton.__version__", "3.6.0")
    monkeypatch.setattr("numpy.__version__", "2.4.1")
    assert [target.name for target in chosen(["twin-sm_90/decode"], "cpu")] == ["twin-sm_90/decode"]
    with pytest.raises(ValueError, match="numpy must be"):
        chosen(["twin-sm_90/decode", "decode"], "cpu")


def test_twin_runs_on_the_cpu_also_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("fuzz.isolation.fork_server.warm_up", lambda: None)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert main(["twin", "--cases", "-1"]) == 2
    assert os.environ["TRITON_INTERPRET"] == "1"
