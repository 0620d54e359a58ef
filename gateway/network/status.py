"""What runs of a network, asked from any shell; and its end."""

from dataclasses import dataclass

from gateway.network.description import Network
from gateway.network.launches import endpoints
from gateway.network.programs import Programs, listens


@dataclass(frozen=True)
class ProgramStatus:
    """One program: where it listens, its process id if it runs, and whether it takes connections."""

    name: str
    endpoint: str
    pid: int | None
    listening: bool

    @property
    def state(self) -> str:
        if self.pid is None:
            return "stopped"
        return "running" if self.listening else "starting"


def status(network: Network) -> list[ProgramStatus]:
    """Every program of the network, in the order of starting."""
    programs = Programs(network.folder)
    found = []
    for name, endpoint in endpoints(network).items():
        pid = programs.pid(name)
        found.append(ProgramStatus(name, endpoint, pid, pid is not None and listens(endpoint)))
    return found


def running(network: Network) -> dict[str, int]:
    """The process ids of the programs that run, by name, in the order of starting; touches none of them."""
    programs = Programs(network.folder)
    found = {name: programs.pid(name) for name in endpoints(network)}
    return {name: pid for name, pid in found.items() if pid is not None}


def down(network: Network) -> list[str]:
    """End every program that runs and return their names; certificates, configuration and the ledger's data stay."""
    names = list(running(network))
    Programs(network.folder).stop(names)
    return names
