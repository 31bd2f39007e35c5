"""python -m fuzz: is your kernel correct?

Exit status: 0 all targets agreed · 1 a target broke a law, a planted defect lived, or the run was
aborted · 2 bad arguments · 3 a target was judged by no case at all.
"""

import argparse
import os
import sys
from pathlib import Path

DEFAULT_SEED = 20_260
DEFAULT_CASES = {"cuda": 2_000, "cpu": 120}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ValueError, FileNotFoundError) as refusal:
        print(f"fuzz: {refusal}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    gate = commands.add_parser("gate", help="judge targets on seeded cases, the corpus and production shapes")
    gate.set_defaults(command=_gate)
    gate.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of everything drawn (default %(default)s)")
    gate.add_argument("--cases", type=int, help=f"lattice cases (default {DEFAULT_CASES})")
    gate.add_argument("--corpus", action=argparse.BooleanOptionalAction, default=True, help="kept cases too")
    gate.add_argument("--production", action=argparse.BooleanOptionalAction, default=True, help="production shapes too")
    gate.add_argument("--jobs", type=int, help="child processes (default up to 8 on a GPU, else one per core)")

    run = commands.add_parser("run", help="fuzz targets at random, and shrink what breaks")
    run.set_defaults(command=_run)
    run.add_argument("--seed", type=int, help="of everything drawn (default: a fresh one, which is printed)")
    run.add_argument("--minutes", type=float, help="how long")
    run.add_argument("--cases", type=int, help="how many cases (default 200, if --minutes is not given either)")
    run.add_argument("--shard", default="0/1", metavar="I/N", help="the part of the run to do (default all of it)")

    for command, seconds in ((gate, 0.0), (run, 60.0)):
        command.add_argument(
            "--shrink-seconds", type=float, default=seconds, help="to make each finding smaller (default %(default)g)"
        )
        command.add_argument("--scale", choices=("small", "large"), help="size of cases (default large on a GPU)")
        command.add_argument("--findings", type=Path, default=Path(".fuzz/findings"), help="folder for what broke")
        command.add_argument("--hangs-after", type=float, default=120.0, help="seconds a target has for one case")
        command.add_argument(
            "--diagnose", action=argparse.BooleanOptionalAction, default=True, help="ask broken targets why"
        )
        command.add_argument("--json", type=Path, help="file for the record of the run")
        command.add_argument("--junit", type=Path, help="file for the verdicts as JUnit XML")
        command.add_argument("--verbose", action="store_true", help="print how often each bucket was reached")

    promote = commands.add_parser("promote", help="keep a finding's case in the corpus, which every gate judges")
    promote.set_defaults(command=_promote)
    promote.add_argument("finding", type=Path, help="JSON of a finding")
    promote.add_argument("--flag", required=True, help="the kind of defect, one word")
    promote.add_argument("--origin", required=True, help="where the case comes from")
    promote.add_argument("--note", required=True, help="what the case hunts")

    replay = commands.add_parser("replay", help="judge one case from a file and show its scores around the cut")
    replay.set_defaults(command=_replay)
    replay.add_argument("case", type=Path, help="JSON of a case or of a finding")

    report = commands.add_parser("report", help="merge the records of shards into one report")
    report.set_defaults(command=_report)
    report.add_argument("shards", type=Path, nargs="+", metavar="RECORD.json", help="from `gate` or `run --json`")
    report.add_argument("--json", type=Path, help="file for the merged record")
    report.add_argument("--junit", type=Path, help="file for the verdicts as JUnit XML")
    report.add_argument("--html", type=Path, help="file for one page that needs nothing else")
    report.add_argument(
        "--replay", action=argparse.BooleanOptionalAction, default=True, help="show findings' score strips on the page"
    )

    nightly = commands.add_parser("nightly", help="fuzz in shards, one per GPU, and fail if a planted defect lives")
    nightly.set_defaults(command=_nightly)
    nightly.add_argument("--minutes", type=float, default=30.0, help="how long each shard runs (default %(default)g)")
    nightly.add_argument("--shards", type=int, help="processes (default one per GPU, or one without)")
    nightly.add_argument("--seed", type=int, help="of everything drawn (default: a fresh one, which is printed)")
    nightly.add_argument("--folder", type=Path, default=Path(".fuzz/nightly"), help="for records, logs and the report")
    nightly.add_argument("--findings", type=Path, default=Path(".fuzz/findings"), help="folder for what broke")
    nightly.add_argument(
        "--canary",
        default="fuzz.canaries:highest_id_wins_ties",
        help="the target that must break (default %(default)s)",
    )
    nightly.add_argument(
        "--replay", action=argparse.BooleanOptionalAction, default=True, help="show findings' score strips on the page"
    )

    targets = commands.add_parser("targets", help="list what can be judged")
    targets.set_defaults(command=_targets)

    _add_canaries(commands.add_parser("canaries", help="judge the suite: how long does each planted defect live?"))

    for command in (gate, run, nightly, replay):
        command.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    for command in (gate, run, nightly, replay):
        command.add_argument(
            "--target",
            action="append",
            help="a built-in target, module:callable or module:callable@profile.json; may be repeated (default all)",
        )
    return parser


def _add_canaries(canaries: argparse.ArgumentParser) -> None:
    canaries.set_defaults(command=_canaries)
    canaries.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    canaries.add_argument("--tier", choices=("gate", "fuzz"), default="gate", help="the gate's cases, or random ones")
    canaries.add_argument("--seconds", type=float, default=60.0, help="of random cases a defect (default %(default)g)")
    canaries.add_argument(
        "--processes", type=int, help="that fuzz so long: a defect has the time of all (default as run)"
    )
    canaries.add_argument("--only", action="append", default=[], metavar="PATTERN", help="names; may be repeated")
    canaries.add_argument("--kind", action="append", choices=("canary", "process", "mutant"), help="may be repeated")
    canaries.add_argument("--sample", type=int, metavar="N", help="so many of them, by the seed")
    canaries.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of everything drawn (default %(default)s)")
    canaries.add_argument("--cases", type=int, help=f"the gate's lattice cases (default {DEFAULT_CASES})")
    for name, words in (("corpus", "kept cases too"), ("production", "shapes of traffic too")):
        canaries.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=True, help=words)
    canaries.add_argument("--equivalents", action="store_true", help="also judge those proved equivalent; slow")
    canaries.add_argument("--first-kill", action="store_true", help="do not wait for a law that names the defect")
    canaries.add_argument("--give-up-after", type=float, default=0.0, help="seconds of the gate's cases a defect has")
    canaries.add_argument("--hangs-after", type=float, help="seconds a defect has for one case")
    canaries.add_argument("--shrink-seconds", type=float, default=0.0, help="to make each killing case smaller")
    canaries.add_argument("--jobs", type=int, help="defects judged at once (default one per core)")
    canaries.add_argument("--json", type=Path, help="file to keep the score in, tier by tier")
    canaries.add_argument("--resume", action="store_true", help="keep what the file has of this tier, judge the rest")
    canaries.add_argument(
        "--markdown", action="store_true", help="only print the table of the file, or of the kept score"
    )
    canaries.add_argument("--into", type=Path, metavar="README.md", help="also put that table into a document")


def _device(wanted: str) -> str:
    """The device to run on; without a GPU, kernels go to Triton's interpreter."""
    from fuzz.isolation.fork_server import warm_up

    if wanted == "cpu":
        # Read once, when triton is first imported: before any kernel is.
        os.environ["TRITON_INTERPRET"] = "1"
        warm_up()
    import torch

    device = wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device must be available; got cuda on a machine without a CUDA device")
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    warm_up()
    return device


def _gate(options: argparse.Namespace) -> int:
    device = _device(options.device)
    from fuzz.commands.gate import gate

    return gate(options, device)


def _run(options: argparse.Namespace) -> int:
    device = _device(options.device)
    from fuzz.commands.run import run

    return run(options, device)


def _report(options: argparse.Namespace) -> int:
    from fuzz.commands.report import report

    return report(options)


def _nightly(options: argparse.Namespace) -> int:
    from fuzz.commands.nightly import nightly

    return nightly(options)


def _promote(options: argparse.Namespace) -> int:
    from fuzz.corpus import promote

    path = promote(options.finding, options.flag, options.origin, options.note)
    print(f"kept as {path}")
    print(f"again: python -m fuzz replay {path}")
    return 0


def _replay(options: argparse.Namespace) -> int:
    device = _device(options.device)
    from fuzz.campaign.findings import read_case
    from fuzz.commands.replay import replay
    from fuzz.report.run_text import stamp_lines
    from fuzz.targets import built_in as targets
    from msa_fast import environment

    case, found_on = read_case(options.case)
    names = options.target or ([found_on] if found_on else list(targets.BUILT_IN))
    print(f"seed {case.seed}, {options.case} on {device}")
    print("\n".join(stamp_lines(environment.stamp(device))))
    print(case.to_json())
    statuses = [replay(case, targets.find(name), device) for name in names]
    print(f"again: python -m fuzz replay {options.case} " + " ".join(f"--target {name}" for name in names))
    return 1 if 1 in statuses else max(statuses, default=3)


def _canaries(options: argparse.Namespace) -> int:
    if options.markdown:
        from fuzz.commands.canaries import show_markdown

        return show_markdown(options)
    device = _device(options.device)
    from fuzz.commands.canaries import canaries

    return canaries(options, device)


def _targets(options: argparse.Namespace) -> int:
    from fuzz.targets import built_in as targets
    from fuzz.targets.profiles import in_words

    for target in targets.BUILT_IN.values():
        print(f"{target.name:<14} {target.kind:<8} {in_words(target.profile):<9} {target.sentence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
