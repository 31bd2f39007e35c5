"""What must not matter: changes of a case that leave some rows' answers as they are.

Each law turns a case into another and says which requests' rows must come out the same. The gate
asks them when a case broke, to say *why* it broke: a wrong answer that changes with the poison, say,
comes from reading what no one may read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fuzz.case import Case, Request, Views
from fuzz.materialise import Scene
from fuzz.oracle import Breach, Subject


@dataclass(frozen=True)
class Law:
    """One law between runs. change: the changed case and the requests to compare, or None."""

    name: str
    sentence: str
    change: Callable[[Case, int], tuple[Case, list[int]] | None]


def _all(case: Case) -> list[int]:
    return list(range(len(case.requests)))


def _other_poison(case: Case, req: int) -> tuple[Case, list[int]] | None:
    tail = "bait" if case.pages.tail != "bait" else "nan"
    behind = "minus_one" if case.pages.behind != "minus_one" else "int_max"
    return replace(case, pages=replace(case.pages, tail=tail, behind=behind)), _all(case)


def _other_pages(case: Case, req: int) -> tuple[Case, list[int]] | None:
    if case.pages.pool_pages:
        return None
    order = "identity" if case.pages.order != "identity" else "reversed"
    return replace(case, pages=replace(case.pages, order=order, spare_pages=case.pages.spare_pages + 3)), _all(case)


def _plain_views(case: Case, req: int) -> tuple[Case, list[int]] | None:
    views = Views(is_out_given=case.views.is_out_given)
    return None if views == case.views else (replace(case, views=views), _all(case))


def _other_neighbours(case: Case, req: int) -> tuple[Case, list[int]] | None:
    if len(case.requests) == 1 or case.pages.shared_blocks or case.pages.pool_pages:
        return None
    requests = [
        request if number == req else Request(request.query_len, 0) for number, request in enumerate(case.requests)
    ]
    return replace(case, requests=tuple(requests)), [req]


LAWS = (
    Law("PoisonBlind", "What lies behind live tokens and live table entries does not matter.", _other_poison),
    Law("PageRelabel", "Which page a block lies in does not matter.", _other_pages),
    Law("ViewBlind", "Strides and offsets of the tensors do not matter.", _plain_views),
    Law("NeighbourIndependence", "Other requests do not matter; here they became padding.", _other_neighbours),
)


def diagnose(case: Case, target: Subject, device: torch.device | str, req: int, num_splits: int) -> list[Breach]:
    """The laws between runs that a target breaks on a case's first state.

    req: the request whose rows were wrong. A target that raises breaks none here.
    """
    case = replace(case, replay=())
    found = []
    try:
        first = _answer(case, target, device, num_splits)
        for law in LAWS:
            changed = law.change(case, max(req, 0))
            if changed is None:
                continue
            second = _answer(changed[0], target, device, num_splits)
            rows = torch.tensor([number for number in _rows(case, changed[1])], dtype=torch.long)
            differs = (first[:, rows] != second[:, rows]).any(-1).nonzero()
            if len(differs):
                head, token = int(differs[0, 0]), int(rows[differs[0, 1]])
                text = f"{second[head, token].tolist()}, not {first[head, token].tolist()}; {law.sentence}"
                found.append(Breach(law.name, text, head, token, _req(case, token), num_splits))
    except Exception:
        # The exact oracle has reported the exception already; here it only ends the diagnosis.
        return found
    return found


def _answer(case: Case, target: Subject, device: torch.device | str, num_splits: int) -> torch.Tensor:
    """CPU [H, T, K] int32: one run, unjudged."""
    scene = Scene(case, device)
    run = target.open(scene, num_splits)
    out = scene.new_out()
    answer = run()
    return (answer if out is None else out)[:, : case.total_q].cpu()


def _rows(case: Case, reqs: list[int]) -> list[int]:
    return [token for token in range(case.total_q) if _req(case, token) in reqs]


def _req(case: Case, token: int) -> int:
    for req, request in enumerate(case.requests):
        token -= request.query_len
        if token < 0:
            return req
    raise IndexError(token)
