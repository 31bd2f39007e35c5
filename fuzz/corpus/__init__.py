"""Kept cases: each broke something once, and says what. Every gate judges all of them.

An entry is one JSON file: `flag`, the kind of defect (a row of the list of field defects, or another
word); `origin`, where the case comes from; `note`, what it hunts; `target` and `law`, what
broke on it; `case`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from fuzz.cases.case import Case
from fuzz.cases.codec import from_data, read_object, to_data
from msa_ref.config import require

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One kept case. target, law: what broke on it.

    Raises:
        ValueError: one sentence, if flag, origin or note is empty.
    """

    flag: str
    origin: str
    note: str
    target: str
    law: str
    case: Case

    def __post_init__(self) -> None:
        require(bool(re.fullmatch(r"[\w.-]+", self.flag)), "flag", "must be one word", repr(self.flag))
        for name in ("origin", "note"):
            require(bool(getattr(self, name).strip()), name, "must say something", repr(getattr(self, name)))


def entries(folder: Path = FOLDER) -> dict[str, Entry]:
    """File stem -> entry, by name.

    Raises:
        ValueError: one sentence naming the file and what is wrong with it.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        found[path.stem] = from_data(Entry, read_object(path), path.name)
    return found


def promote(finding: Path, flag: str, origin: str, note: str, folder: Path = FOLDER) -> Path:
    """Keep a finding's case in the corpus. Returns the new file.

    Raises:
        ValueError: one sentence, if the file is no finding, or the corpus has such an entry.
    """
    data = read_object(finding)
    is_finding = {"target", "law", "case", "violation"} <= set(data)
    require(is_finding, str(finding), "must hold a finding", f"the keys {', '.join(data)}")
    num_before = len(data.get("before", []))
    require(not num_before, str(finding), "must break alone, as kept cases are judged", f"{num_before} cases before it")
    words = {"flag": flag, "origin": origin, "note": note}
    entry = from_data(Entry, words | {key: data[key] for key in ("target", "law", "case")}, str(finding))
    name = re.sub(r"\W+", "_", entry.target.rpartition(":")[2])
    path = folder / f"{flag}-{name}.json"
    require(not path.exists(), "corpus", "must have no entry of this name yet", path.name)
    path.write_text(json.dumps(to_data(entry), indent=1) + "\n")
    return path
