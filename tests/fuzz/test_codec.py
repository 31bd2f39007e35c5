"""The codec reads what it wrote, and refuses what does not fit."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch

from fuzz.cases.codec import from_data, to_data


@dataclass(frozen=True)
class Inner:
    count: int = 0


@dataclass(frozen=True)
class Outer:
    name: str
    order: Literal["ascending", "any"] = "any"
    dtypes: tuple[torch.dtype, ...] = (torch.float16,)
    sizes: tuple[int, ...] | None = None
    inner: Inner = Inner()
    by_name: dict[str, float] | None = None


@pytest.mark.parametrize(
    "value",
    [Outer("plain"), Outer("full", "ascending", (torch.bfloat16, torch.float32), (1, 2), Inner(3), {"a": 1.5})],
)
def test_json_keeps_a_dataclass_whole(value: Outer) -> None:
    assert from_data(Outer, json.loads(json.dumps(to_data(value))), "file") == value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": 1}, "file must have no other keys than name, order"),
        ({"order": "sideways"}, "file.order must be one of ascending, any; got 'sideways'"),
        (
            {"dtypes": ["int8"]},
            "file.dtypes[0] must be one of bfloat16, float16, float32, float8_e4m3fn, nvfp4; got 'int8'",
        ),
        ({"dtypes": [[]]}, "file.dtypes[0] must be one of bfloat16"),
        ({"sizes": [True]}, "file.sizes[0] must be of type int; got True"),
        ({"inner": None}, "file.inner must be an object; got NoneType"),
        ({"by_name": {"a": "b"}}, "file.by_name.a must be of type float; got 'b'"),
    ],
)
def test_data_that_does_not_fit_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="must") as refusal:
        from_data(Outer, {"name": "x"} | change, "file")
    assert str(refusal.value).startswith(sentence)
