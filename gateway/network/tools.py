"""Fabric's own command-line programs, run to their end."""

import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.errors import Unavailable
from gateway.network.description import CHANNEL, MemberPlace, Network
from gateway.network.environment import admin_environment, tool_environment
from gateway.network.home import FabricHome

_RUN_SECONDS = 120.0
_WORDS = 500  # characters of a failing program's output that a sentence quotes
Words = tuple[str | Path, ...]


class Tools:
    """The programs of one release, for one network."""

    def __init__(self, home: FabricHome, network: Network) -> None:
        self._home, self._network = home, network

    def configtxgen(self, *arguments: str | Path) -> None:
        self._run("configtxgen", arguments, tool_environment(self._network))

    def osnadmin(self, *arguments: str | Path) -> None:
        self._run("osnadmin", arguments, tool_environment(self._network))

    def peer(self, member: MemberPlace, *arguments: str | Path) -> str:
        """Run `peer ARGUMENTS` as the organisation's administrator and return what it prints."""
        return self._run("peer", arguments, admin_environment(self._network, member))

    def each(self, step: Callable[[MemberPlace], object]) -> None:
        """A step of every organisation's administrator, all at once."""
        with ThreadPoolExecutor(len(self._network.members)) as pool:
            list(pool.map(step, self._network.members))

    def channel(self) -> Words:
        """Arguments that name the channel and an orderer to send to."""
        orderer = self._network.orderers[0]
        return ("-o", orderer.endpoint, "--tls", "--cafile", orderer.organisation.tls_ca, "--channelID", CHANNEL)

    def _run(self, program: str, arguments: Words, environment: Mapping[str, str]) -> str:
        command = [str(self._home.program(program)), *map(str, arguments)]
        try:
            done = subprocess.run(  # noqa: S603 (a program of the release that the user names)
                command, env=dict(environment), capture_output=True, text=True, timeout=_RUN_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{program} {' '.join(command[1:4])} did not end within {_RUN_SECONDS:.0f} s") from error
        if done.returncode != 0:
            raise Unavailable(f"{program} {' '.join(command[1:4])} failed: {(done.stdout + done.stderr).strip()[-_WORDS:]}")
        return done.stdout
