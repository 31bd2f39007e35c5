"""A field of a dataclass is an option: its type says how it is read, and a rule that it breaks is one sentence."""

from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

import pytest

from fuzz.commands.declared import declare, filled, option


@dataclass(frozen=True, kw_only=True)
class Shared:
    seed: int
    names: tuple[str, ...] = option("may be repeated", (), "--name")


@dataclass(frozen=True, kw_only=True)
class Options(Shared):
    files: tuple[Path, ...] = option("some files", flag="files", nargs="+")
    seed: int = option("default %(default)s", 7)
    size: float | None = option("a size", None)
    is_quick: bool = option("be quick", False, "--quick")
    has_corpus: bool = option("kept cases too", True, "--corpus")
    shard: tuple[int, int] = option("i/n", "0/1", settle=lambda text: tuple(map(int, text.split("/"))), type=str)
    note: str = option("a note")

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed must be >= 0; got {self.seed}")


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="it")
    declare(made, Options)
    return made


def read(words: str) -> Options:
    return filled(Options, parser().parse_args(words.split()))


def test_what_is_not_written_has_its_default() -> None:
    assert read("a.json --note n") == Options(files=(Path("a.json"),), seed=7, shard=(0, 1), note="n")


def test_a_type_says_how_an_option_is_read() -> None:
    got = read("a b --note n --seed 3 --size 2 --quick --no-corpus --shard 1/4 --name x --name y")
    assert got == Options(
        files=(Path("a"), Path("b")),
        seed=3,
        size=2.0,
        is_quick=True,
        has_corpus=False,
        shard=(1, 4),
        note="n",
        names=("x", "y"),
    )


def test_an_option_without_a_default_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("a.json")
    assert "required: --note" in capsys.readouterr().err


def test_a_broken_rule_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^--seed must be >= 0; got -1$"):
        read("a.json --note n --seed=-1")


def test_help_has_the_words_with_their_defaults() -> None:
    text = " ".join(parser().format_help().split())
    assert "--seed SEED default 7" in text
    assert "--corpus, --no-corpus kept cases too (default yes)" in text
    assert text.index("--note NOTE a note") < text.index("--name NAME may be repeated"), "inherited options come last"
