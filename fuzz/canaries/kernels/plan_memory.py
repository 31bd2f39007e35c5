"""Mutants of the memory of plans: what a plan shares with those before and after it."""

from fuzz.canaries.kernels.mutant import mutants_of

_memory = mutants_of("ops/plan_memory.py", "step")

MUTANTS = [
    _memory(
        "step_slot_used_again",
        "Every plan of a builder lies in the memory of the first.",
        "return slots.pop()",
        "return slots[-1]",
        ("OwnMemory",),
    ),
    _memory(
        "step_slots_go_round",
        "A plan lies in the memory of the sixteenth plan before it, whose copy, or kernel, may not have run.",
        "return slots.pop()",
        "slots.insert(0, slots.pop())\n        return slots[0]",
        ("OwnMemory",),
    ),
    _memory(
        "step_slots_of_three_sets",
        "A plan lies in the memory of the 48th plan before it.",
        "slots = self._slots[stream] = self._new_slots()",
        "sets = self.__dict__.setdefault('sets', [])\n"
        "            sets.append(self._new_slots() if len(sets) < 3 else sets.pop(0))\n"
        "            slots = self._slots[stream] = list(sets[-1])",
        ("OwnMemory",),
    ),
    _memory(
        "step_tiles_of_the_first_slot",
        "The selection tiles of a plan are read where those of the first slot lie.",
        "self.memory.storage_offset() + 4 * self.num_score_tiles",
        "4 * self.num_score_tiles",
        ("OwnMemory", "WritesAll", "Runs", "Best"),
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
    mutants_of("ops/short_plan.py", "step")(
        "step_slot_without_selection_tiles",
        "A plan asks for room for its score tiles alone, which a slot of fixed size hides unless the plan fills it.",
        "take(tiles_end)",
        "take(ranges_end)",
        ("Runs", "OwnMemory"),
        defect="D22",
    ),
    _memory(
        "step_host_lists_on_the_default_device",
        "The host's side of a plan is made on the default device, which may be another.",
        'torch.empty(shape, dtype=torch.int32, device="cpu", pin_memory=is_pinned)',
        "torch.empty(shape, dtype=torch.int32, pin_memory=is_pinned)",
        ("Runs",),
    ),
]
