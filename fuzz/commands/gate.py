"""`python -m fuzz gate`: seeded cases, the corpus and production shapes, the same on every run."""

import argparse

from fuzz import corpus
from fuzz.campaign.judging import (
    at_least,
    choose,
    command_line,
    default_jobs,
    ended_politely,
    finish,
    look_back,
    new_results,
    scale_of,
    shrink_findings,
)
from fuzz.campaign.pool import run_tasks
from fuzz.cases import generate
from fuzz.cases.production import production_cases
from fuzz.isolation.worker import Task
from fuzz.report.run_text import stamp_lines
from fuzz.targets.built_in import Target

DEFAULT_CASES = {"cuda": 2_000, "cpu": 120}


def gate(options: argparse.Namespace, device: str) -> int:
    """Judge targets on a fixed list of cases. Returns the exit status."""
    count = DEFAULT_CASES[device] if options.cases is None else options.cases
    jobs = default_jobs(device) if options.jobs is None else options.jobs
    for name, value, least in (("--cases", count, 0), ("--jobs", jobs, 1), ("--hangs-after", options.hangs_after, 1)):
        at_least(name, value, least)
    scale, chosen = scale_of(options, device), choose(options, device)
    results = new_results(options, chosen, scale, device)
    print(f"seed {options.seed}, {count} cases at scale {scale.name}, on {device}")
    print("\n".join(stamp_lines(results.environment)), flush=True)

    look_back(results, options.findings, device, options.hangs_after)
    names = tuple(target.name for target in chosen)
    # What is known to matter comes first: a gate that is cut short has judged it.
    tasks = corpus_tasks(names, device) if options.corpus else []
    if options.production:
        tasks += production_tasks(chosen, device, options.seed)
    tasks += [Task(case, names, device) for case in generate.gate_cases(options.seed, count, scale)]
    with ended_politely():
        run_tasks(tasks, len(tasks), results, jobs, options.hangs_after, options.diagnose)
    if options.shrink_seconds > 0:
        shrink_findings(results, device, options.shrink_seconds, options.hangs_after)
    words = ["--cases", str(count), "--scale", scale.name, "--device", device]
    words += [f"--no-{name}" for name in ("corpus", "production") if not getattr(options, name)]
    return finish(results, chosen, "gate", command_line("gate", options, *words), options, device)


def corpus_tasks(names: tuple[str, ...], device: str) -> list[Task]:
    """Every kept case on every target; far pages where there is memory for them."""
    kept = [entry.case for entry in corpus.entries().values()]
    return [Task(case, names, device) for case in kept if device != "cpu" or not case.pages.is_far]


def production_tasks(chosen: list[Target], device: str, seed: int) -> list[Task]:
    """Production shapes, each on the targets of its kind and on foreign ones."""
    return [
        Task(case, tuple(target.name for target in chosen if target.kind in (kind, "foreign")), device)
        for case, kind in production_cases(device == "cuda", seed)
    ]
