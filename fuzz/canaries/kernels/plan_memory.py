"""Mutants of the memory of plans: what a plan shares with those before and after it."""

from fuzz.canaries.kernels.mutant import mutants_of

_memory = mutants_of("ops/plan_memory.py", "step")

MUTANTS = [
    _memory(
        "step_slot_used_again",
        "Every plan of a builder lies in the memory of the first.",
        "return slots.pop()",
        "return slots[-1]",
        equivalent="A step is refused once the next is built, and an engine of the suite waits for each of its steps; "
        "tests/fast/test_plan_memory.py holds that a plan keeps its tiles.",
    ),
    _memory(
        "step_tiles_of_the_first_slot",
        "The selection tiles of a plan are read where those of the first slot lie.",
        "self.memory.storage_offset() + 4 * self.num_score_tiles",
        "4 * self.num_score_tiles",
        ("WritesAll", "Runs", "Best"),
        defect="D19",
    ),
    _memory(
        "step_tiles_behind_full_slots",
        "The selection tiles of a plan are read behind one score tile more than it has.",
        "self.memory.storage_offset() + 4 * self.num_score_tiles",
        "self.memory.storage_offset() + 4 * (self.num_score_tiles + 1)",
        ("WritesAll", "Runs", "Best"),
        defect="D31",
    ),
]
