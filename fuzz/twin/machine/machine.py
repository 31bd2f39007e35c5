"""The whole machine of one program."""

from typing import Any

from fuzz.twin.finding import Finding
from fuzz.twin.machine.copies import Copies
from fuzz.twin.machine.events import Group
from fuzz.twin.machine.products import Products
from fuzz.twin.machine.scheduler import Thread
from fuzz.twin.machine.threads import Threads


class Machine(Threads, Copies, Products):
    """Runs one program from its first line to its end."""

    def run(self, code: Any, group: Group) -> None:
        """Run a program's code, with the partitions that it starts.

        Raises:
            Finding: what is wrong with it.
        """
        self.scheduler.threads.append(Thread(group.name, code))
        self.scheduler.run()
        if self.unwaited_stores:
            raise Finding("in flight", f"the program ends without a wait for the {self.log.tell(self.unwaited_stores)}")
        for barrier in self.mbarriers.values():
            if barrier.num_bytes:
                sentence = f"the program ends while a barrier expects {barrier.num_bytes} bytes that nothing brings"
                raise Finding("in flight", sentence)
