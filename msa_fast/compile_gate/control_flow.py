"""Finds the instructions of a listing that lie in a loop."""

from dataclasses import dataclass

import networkx


@dataclass(frozen=True)
class Instruction:
    """One instruction of a listing. targets: labels it may jump to. falls: whether the next one may follow."""

    text: str
    targets: tuple[str, ...] = ()
    falls: bool = True


@dataclass
class Listing:
    """The instructions of one kernel, and the index of the instruction behind each label."""

    instructions: list[Instruction]
    labels: dict[str, int]

    def in_loops(self) -> list[Instruction]:
        """The instructions that can be executed again after themselves, in their order."""
        looping = {i for loop in self.loops() for i in loop}
        return [self.instructions[i] for i in sorted(looping)]

    def loops(self) -> list[list[int]]:
        """The loops, each as the sorted indices of its instructions; a loop holds those that lie within it.

        A backward branch alone proves no loop, since compilers move rare code to the end and branch
        back from there. The loops are the strongly connected components of the flow graph.
        """
        size = len(self.instructions)
        graph: networkx.DiGraph[int] = networkx.DiGraph()
        for i, instruction in enumerate(self.instructions):
            after = [self.labels[label] for label in instruction.targets if label in self.labels]
            graph.add_edges_from((i, j) for j in (*after, *[i + 1] * instruction.falls) if j < size)
        components = networkx.strongly_connected_components(graph)
        return sorted(sorted(part) for part in components if len(part) > 1 or any(graph.has_edge(i, i) for i in part))
