"""The table of commands: what each does, by its own --help, whether it needs a GPU, and how long it takes."""

from fuzz.commands import COMMANDS

FUZZ = {
    "gate": ("no", "2 to 3 min; `--smoke`: seconds"),
    "run": ("no", "`--minutes N`"),
    "nightly": ("no", "`--minutes N`"),
    "canaries": ("for some", "1 h; `--sample N`: minutes"),
    "twin": ("no", "minutes"),
    "peers": ("for most", "2 min for transformers"),
}
"""Command of `python -m fuzz` -> whether it needs a GPU, and its time on 2 cores."""
QUICK = ("replay", "trace", "formats", "report", "promote", "targets", "mutate")
"""Commands that need no GPU and take seconds, or can; they share a row."""
OTHERS = (
    ("python -m msa_fast.compile_gate", "compile the kernels for six GPUs, and check the machine code", "no", "3 min"),
    ("python -m msa_fast.bench", "time the kernels against what the GPU can do", "yes", "3 min"),
)


def command_table() -> str:
    """A row a command; fails if a command has none."""
    lines = ["| command | does | GPU | on 2 cores |", "|---|---|---|---|"]
    slow = {name: words for name, words in COMMANDS.items() if name not in QUICK}
    lines += [f"| `python -m fuzz {name}` | {words} | {' | '.join(FUZZ[name])} |" for name, words in slow.items()]
    words = "; ".join(f"`{name}`: {COMMANDS[name]}" for name in QUICK)
    lines.append(f"| `python -m fuzz`, and one of these | {words} | no | seconds; `formats`, `mutate`: minutes |")
    lines += [f"| `{name}` | {words} | {gpu} | {time} |" for name, words, gpu, time in OTHERS]
    return "\n".join(lines)
