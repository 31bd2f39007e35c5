"""The published score: each planted defect's fate in every tier, a line a defect, without cases and evidence.

The kind of a defect, its row in the list of field defects and the laws that must catch it are read from the table
of planted defects, so the file cannot contradict that table.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fuzz.canaries import Defect
from fuzz.cases.codec import read_object
from fuzz.scoring.scoreboard import SCHEMA, STATUSES, Fate, Score, TierScore
from msa_ref.config import require

PUBLISHED = Path(__file__).parents[1] / "canaries" / "score.json"
"""The score that `fuzz/SCORE.md` shows."""

PUBLISHED_SCHEMA = "published 2"


def published_text(score: Score) -> str:
    """A score as the published file holds it.

    A defect's line holds one list a tier, in the tiers' order: status, seconds, the commit's place in `commits`, and
    the places in `laws` of those broken; or null where the tier has not judged it.
    """
    heads = {
        name: {"run": tier.run, "environment": tier.environment, "note": tier.note}
        for name, tier in score.tiers.items()
    }
    all_fates = [fate for tier in score.tiers.values() for fate in tier.fates]
    commits = list(dict.fromkeys(fate.commit for fate in all_fates))
    laws = list(dict.fromkeys(law for fate in all_fates for law in fate.laws))
    cells = [
        {
            fate.name: [fate.status, fate.seconds, commits.index(fate.commit), *map(laws.index, fate.laws)]
            for fate in tier.fates
        }
        for tier in score.tiers.values()
    ]
    names = dict.fromkeys(name for of_tier in cells for name in of_tier)
    fates = ([of_tier.get(name) for of_tier in cells] for name in names)
    lines = [
        f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in zip(names, fates, strict=True)
    ]
    head = f'"schema": {json.dumps(PUBLISHED_SCHEMA)},\n"tiers": {json.dumps(heads, indent=1)}'
    joined = ",\n".join(lines)
    return f'{{{head},\n"commits": {json.dumps(commits)},\n"laws": {json.dumps(laws)},\n"fates": {{\n{joined}\n}}}}\n'


def read_published(path: Path, defects: Iterable[Defect]) -> Score:
    """The published score in a file, of the given defects; an empty one if there is no file.

    Left out: defects that are not given, and fates that say `equivalent` of a defect that no longer claims to be.

    Raises:
        ValueError: one sentence, if the file holds something else.
    """
    if not path.exists():
        return Score(SCHEMA, {})
    data = read_object(path)
    got = data.get("schema")
    require(got == PUBLISHED_SCHEMA, f"{path}: schema", f"must be {PUBLISHED_SCHEMA!r}", repr(got))
    known = {one.name: one for one in defects}
    fates: dict[str, list[Fate]] = {name: [] for name in data["tiers"]}
    for name, cells in data["fates"].items():
        require(len(cells) == len(fates), f"{path}: {name}", "must have one fate a tier", len(cells))
        for tier, cell in zip(fates, cells, strict=True):
            if name in known and cell is not None and (cell[0] != "equivalent" or known[name].equivalent):
                fates[tier].append(_fate(known[name], cell, data["commits"], data["laws"], path))
    return Score(SCHEMA, {name: TierScore(fates=tuple(fates[name]), **head) for name, head in data["tiers"].items()})


def _fate(defect: Defect, cell: list[Any], commits: list[str], laws: list[str], path: Path) -> Fate:
    has_status = len(cell) >= 3 and cell[0] in STATUSES
    is_sound = has_status and _are_places(cell[2:3], commits) and _are_places(cell[3:], laws)
    rule = "must be lists of status, seconds, and places in commits and laws"
    require(is_sound, f"{path}: {defect.name}", rule, cell)
    status, seconds, commit, *broken = cell
    return Fate.of(defect, status, laws=tuple(laws[law] for law in broken), seconds=seconds, commit=commits[commit])


def _are_places(places: list[Any], among: list[str]) -> bool:
    return all(isinstance(place, int) and 0 <= place < len(among) for place in places)
