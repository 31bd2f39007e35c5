"""Checks whether a single law about rows or between runs, on its own, rejects a target.

The oracle finds a wrong row by its bits, explains a few, and asks the laws between runs only about
cases that broke already. Here a law gets no such help: it is asked about every row and every case.
"""

from fuzz.inputs.poisoned_memory import GarbageWorkspaces
from fuzz.inputs.scene import Scene
from fuzz.judge.between_runs import as_run
from fuzz.judge.dice import Dice
from fuzz.targets import Target
from msa_ref.indexer import scored_chunks
from msa_ref.laws import BATCH_LAWS
from msa_ref.rows import ROW_LAWS, Selection


def breaks_alone(law: str, target: Target, scene: Scene) -> bool:
    """Whether a target breaks a law on a scene, as far as this law can tell without the others.

    What the target raises is the business of `Runs` alone.
    """
    if target.limits(scene.case, scene.device.type) is not None:
        return False
    for num_splits in scene.case.num_splits if target.has_splits else (0,):
        scene.apply(0)
        try:
            if law in BATCH_LAWS:
                found = BATCH_LAWS[law].breaks(scene.batch, as_run(scene.case, target, num_splits))
                is_broken = any(True for _ in found)
            else:
                is_broken = _breaks_row_law(law, target, scene, num_splits)
        except Exception:
            continue
        if is_broken:
            return True
    return False


def _breaks_row_law(law: str, target: Target, scene: Scene, num_splits: int) -> bool:
    """Whether any row of a run, or of a run after the buffers changed, breaks a law about rows."""
    batch, run, dice = scene.batch, target.open(scene, num_splits), Dice(scene.case.seed)
    for state in range(len(scene.case.states) if target.has_replay else 1):
        scene.apply(state)
        out = scene.new_out()
        dice.throw(state + 1)  # by low numbers first, so that no kill hangs on luck
        with GarbageWorkspaces(scene.case.pages.tail):
            answer = run()
        answer = (answer if out is None else out)[:, : batch.total_q]
        scored = [(slice(0, batch.total_q), scene.score().double())] if target.takes_score else scored_chunks(batch)
        num_visible_blocks = batch.num_visible_blocks()
        for rows, score in scored:
            seen = num_visible_blocks[rows]
            end = int(seen.max()) if len(seen) else 0  # behind it scores are garbage
            selection = Selection(batch.config, answer[:, rows], seen, score[..., :end])
            if ROW_LAWS[law].breaks(selection).any():
                return True
    return False
