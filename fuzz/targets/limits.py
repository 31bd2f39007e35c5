"""The limits of the built-in targets: the kernels' own checks, asked for a case before anything is made."""

import importlib
from types import ModuleType

import torch

from fuzz.cases.case import Case


def _checked(case: Case) -> ModuleType:
    """The kernels' checks, of which those that every launcher makes have passed."""
    checks = importlib.import_module("msa_fast.ops.checks")
    checks.check_config(case.config)
    checks.check_formats(case.formats.queries, case.formats.keys, case.config)
    return checks


def check_prefill(case: Case) -> None:
    """Refuse what prefill's launchers would refuse.

    Raises:
        ValueError: the kernels' own sentence.
    """
    checks, steps = _checked(case), case.states
    longest = max((request.seq_len for step in steps for request in step.requests), default=0) + case.host_slack
    checks.check_row_blocks(case.config.num_blocks(longest), "seq_lens")


def check_prefill_device(case: Case) -> None:
    """Refuse what a plan on the device would refuse.

    Raises:
        ValueError: the kernels' own sentence.
    """
    check_prefill(case)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bounds = case.config, len(case.requests), case.total_q, case.max_blocks, device
    importlib.import_module("msa_fast.ops.device_plan").check_bounds(*bounds)


def check_decode_topk(case: Case) -> None:
    """Refuse what the launcher of decode's selection would refuse.

    Raises:
        ValueError: the kernels' own sentence.
    """
    checks = _checked(case)
    checks.check_decode(case.decode_query_len, len(case.requests), case.total_q, case.max_blocks)


def check_decode(case: Case) -> None:
    """Refuse what decode's launchers would refuse.

    Raises:
        ValueError: the kernels' own sentence.
    """
    check_decode_topk(case)
    checks = importlib.import_module("msa_fast.ops.checks")
    for num_splits in case.num_splits:
        checks.check_num_splits(num_splits or None)
