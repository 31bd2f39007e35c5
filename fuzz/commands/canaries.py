"""`python -m fuzz canaries`: judge the suite by what is planted in it, and keep the score."""

import argparse
import os
from dataclasses import asdict, replace

from fuzz.campaign.judging import at_least, default_jobs, ended_politely
from fuzz.campaign.pool import Progress
from fuzz.cases.chooser import SeededChooser
from fuzz.commands.gate import DEFAULT_CASES
from fuzz.report.run_text import stamp_lines
from fuzz.scoring.scoreboard import SCHEMA, SCORE, Fate, Score, TierScore, markdown, text_lines
from fuzz.scoring.tier import Tier
from fuzz.scoring.trials import Patience, Planted, fates, planted
from msa_fast import environment

BEGIN, END = "<!-- score -->", "<!-- end of score -->"
"""Lines of a document between which the table stands."""
HANGS_AFTER = {"cuda": 60.0, "cpu": 90.0}


def show_markdown(options: argparse.Namespace) -> int:
    """Print the table of a score file, and put it into a document where one is named."""
    table = markdown(Score.read(options.json or SCORE))
    print(table)
    if options.into:
        text = options.into.read_text()
        before, begin, rest = text.partition(BEGIN)
        _, end, behind = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"--into must name a document with the lines {BEGIN!r} and {END!r}; got {options.into}")
        options.into.write_text(f"{before}{BEGIN}\n{table}\n{END}{behind}")
    return 0


def canaries(options: argparse.Namespace, device: str) -> int:
    """Judge planted defects, all or some, afresh or from where an earlier scoring ended. Returns the exit status."""
    tier, patience, jobs = _settings(options, device)
    table = _chosen(options)
    stamp = environment.stamp(device)
    score = Score.read(options.json) if options.json else Score(SCHEMA, {})
    run = {name: str(value) for name, value in asdict(tier).items()}
    known = _told_before(score, tier.name, run)
    before = {name: fate for name, fate in known.items() if fate.status in ("killed", "survived", "equivalent")}
    rest = [one for one in table if not options.resume or one.name not in before]
    print(f"seed {tier.seed}, {tier.name} at scale {tier.scale} against {len(table)} planted defects, on {device}")
    print("\n".join(stamp_lines(stamp)))
    print(f"{len(table) - len(rest)} were judged before, {len(rest)} are left", flush=True)
    bar = Progress(len(rest), "defects", "to look at")
    done = {name: fate for name, fate in before.items() if name not in {one.name for one in rest}}

    def tell(fate: Fate) -> None:
        done[fate.name] = replace(fate, commit=stamp["commit"])
        bar.step(sum(one.is_bad for one in done.values()))
        if options.json:
            told = known | done  # others keep what they had
            kept = TierScore(run, stamp, tuple(told[one.name] for one in planted() if one.name in told))
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(score.with_tier(tier.name, kept).to_json())

    is_interrupted = False
    with ended_politely():
        try:
            fates(rest, tier, patience, jobs, tell)
        except KeyboardInterrupt:
            is_interrupted = True
    bar.close()
    shown = [done[one.name] for one in table if one.name in done]
    print("\n".join(text_lines(shown, {one.name: one.sentence for one in table})))
    if is_interrupted:
        print(f"interrupted after {len(shown)} of {len(table)} defects: --resume goes on")
    return 1 if is_interrupted or any(fate.is_bad for fate in shown) else 0


def _settings(options: argparse.Namespace, device: str) -> tuple[Tier, Patience, int]:
    cases = DEFAULT_CASES[device] if options.cases is None else options.cases
    seconds = options.seconds if options.tier == "fuzz" else 0.0
    jobs = (os.cpu_count() or 1) if options.jobs is None else options.jobs
    processes = default_jobs(device) if options.processes is None else options.processes
    hangs_after = HANGS_AFTER[device] if options.hangs_after is None else options.hangs_after
    for name, value, least in (
        ("--cases", cases, 0),
        ("--jobs", jobs, 1),
        ("--seconds", options.seconds, 1),
        ("--processes", processes, 1),
        ("--hangs-after", hangs_after, 1),
        ("--give-up-after", options.give_up_after, 0),
    ):
        at_least(name, value, least)
    scale = "large" if device == "cuda" else "small"
    tier = Tier(device, options.seed, scale, cases, options.corpus, options.production, seconds)
    if seconds:
        tier = replace(tier, processes=processes)
    patience = Patience(
        hangs_after, options.give_up_after, options.first_kill, options.shrink_seconds, options.equivalents
    )
    return tier, patience, jobs


def _chosen(options: argparse.Namespace) -> list[Planted]:
    """What --only, --kind and --sample leave of the table."""
    table = [one for one in planted(options.only) if not options.kind or one.kind in options.kind]
    if options.sample is not None:
        at_least("--sample", options.sample, 1)
        chooser, rest, taken = SeededChooser(options.seed, "sample"), list(table), set[str]()
        while rest and len(taken) < options.sample:
            taken.add(rest.pop(chooser.integer(0, len(rest) - 1)).name)
        table = [one for one in table if one.name in taken]
    return table


def _told_before(score: Score, tier: str, run: dict[str, str]) -> dict[str, Fate]:
    """What an earlier scoring of the same tier with the same cases has told, of defects that are still planted."""
    if tier not in score.tiers or score.tiers[tier].run != run:
        return {}
    now = {one.name: bool(one.equivalent) for one in planted()}
    return {fate.name: fate for fate in score.tiers[tier].fates if now.get(fate.name) == fate.is_equivalent}
