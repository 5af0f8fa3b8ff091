"""The ports of a server that runs as several processes: kept by the lab, because each process is told those of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab_services.runtime.ports import Port

if TYPE_CHECKING:
    from lab_services.runtime.replica import Replica
    from lab_services.servers import Node


class Nodes:
    """Three reserved ports for each node: for clients (`ports`), for the other nodes, for asking if it is ready."""

    def __init__(self, count: int) -> None:
        self.ports, self._peers, self._health = ([Port(for_server=True) for _ in range(count)] for _ in range(3))

    def node(self, replica: Replica) -> Node:
        """Return what one process of the server has to know."""
        from lab_services.servers import Node

        health = self._health[replica.number - 1].number
        return Node(replica.number, replica.port.number, health, tuple(port.number for port in self._peers))

    def release(self) -> None:
        """Give the ports back to the machine."""
        for port in (*self.ports, *self._peers, *self._health):
            port.release()
