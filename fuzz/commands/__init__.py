"""The commands of `python -m fuzz`, one file each: its options, and what it does.

To add a command, give it a line in `COMMANDS` and write `fuzz/commands/<name>.py` with two things:

    Options                a frozen dataclass whose fields are what a user may write (see `fuzz.commands.declared`)
    run(options) -> int    does it, and returns the exit status

`fuzz.commands.options` has what several commands share.
"""

COMMANDS = {
    "gate": "judge targets on seeded cases, the corpus and production shapes",
    "run": "fuzz targets at random, and shrink what breaks",
    "nightly": "fuzz in shards, one per GPU, and fail if a planted defect lives",
    "replay": "judge one case from a file and show its scores around the cut",
    "report": "merge the records of shards into one report",
    "twin": "judge targets on GPUs that are not there: executed on a model, on a CPU",
    "trace": "show one program of a kernel on the twin, moment by moment",
    "promote": "keep a finding's case in the corpus, which every gate judges",
    "targets": "list the built-in targets, and the peers that are installed",
    "peers": "judge the kernels that others ship, as far as they are installed: one table",
    "formats": "measure how often selections change from bf16 to e4m3 to NVFP4 keys, and by the unit that sums them",
    "canaries": "judge the suite by planted defects: which law kills each, and how soon",
    "mutate": "break a kernel's file at every place, one at a time: which breaks does no case show?",
}
"""Name -> one line for `--help`."""

JUDGES = frozenset({"gate", "run", "replay", "canaries", "mutate", "peers", "twin"})
"""Commands that run kernels in this process or its children: their device is settled before they are imported."""

ON_CPU = frozenset({"twin"})
"""Commands that judge on a CPU, also where there is a GPU."""
