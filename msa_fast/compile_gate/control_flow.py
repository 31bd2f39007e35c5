"""Which instructions of a listing lie in a loop: those that control flow can bring back to themselves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """One instruction of a listing. targets: labels it may jump to. falls: whether the next one may follow."""

    text: str
    targets: tuple[str, ...] = ()
    falls: bool = True


@dataclass
class Listing:
    """The instructions of one kernel, and where its labels stand."""

    instructions: list[Instruction]
    labels: dict[str, int]

    def in_loops(self) -> list[Instruction]:
        """The instructions that can be executed again after themselves.

        A backward branch alone proves no loop, since compilers move rare code to the end and branch
        back from there; so the graph decides: its strongly connected components are the loops.
        """
        size = len(self.instructions)
        following: list[list[int]] = []
        for i, instruction in enumerate(self.instructions):
            after = [self.labels[label] for label in instruction.targets if label in self.labels]
            following.append([j for j in (after + [i + 1] * instruction.falls) if j < size])
        return [self.instructions[i] for i in sorted(_in_cycles(following))]


def _in_cycles(following: list[list[int]]) -> set[int]:
    """Nodes of a graph that lie on a cycle: Tarjan's algorithm, with a stack of its own."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    cyclic: set[int] = set()
    for root in range(len(following)):
        work = [(root, 0)] if root not in order else []
        while work:
            node, child = work.pop()
            if child == 0:
                order[node] = low[node] = len(order)
                open_nodes.append(node)
                is_open.add(node)
            elif following[node][child - 1] in is_open:
                low[node] = min(low[node], low[following[node][child - 1]])
            if child < len(following[node]):
                work.append((node, child + 1))
                if following[node][child] not in order:
                    work.append((following[node][child], 0))
                continue
            if low[node] == order[node]:
                component = {open_nodes.pop()}
                while node not in component:
                    component.add(open_nodes.pop())
                is_open -= component
                if len(component) > 1 or node in following[node]:
                    cyclic |= component
    return cyclic
