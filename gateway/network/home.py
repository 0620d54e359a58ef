"""The folder of an unpacked Fabric release: which programs it must hold, and of which version."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import InputError
from gateway.network.description import Consensus

PROGRAMS = ("peer", "orderer", "configtxgen", "osnadmin")
CONFIGS = ("core.yaml", "orderer.yaml")
BUILDER = ("detect", "build", "release")
_FIRST_WITH_BFT = (3, 0)
SUPPORTED = ((2, 5), (3, 1))
_VERSION_ARGUMENTS = {"peer": "version", "orderer": "version", "configtxgen": "-version"}  # osnadmin tells none
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class FabricHome:
    """A release that was checked by `open_home`."""

    folder: Path
    version: tuple[int, int]

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name

    def config(self, name: str) -> Path:
        return self.folder / "config" / name

    def require(self, consensus: Consensus) -> None:
        """Raise InputError if this release cannot order that way."""
        if consensus == "bft" and self.version < _FIRST_WITH_BFT:
            raise InputError(
                f"{self.folder} is Fabric {_spelled(self.version)}, and BFT ordering came with 3.0; give a 3.1 release, or raft orderers"
            )

    @property
    def builder(self) -> Path:
        """Fabric's builder for chaincode that runs as a service."""
        return self.folder / "builders" / "ccaas"


def open_home(folder: Path) -> FabricHome:
    """Check that everything is there and of one supported release; raise InputError with one sentence otherwise."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the folder of an unpacked Fabric release, with bin, config and builders in it")
    folder = folder.resolve()
    for name in PROGRAMS:
        _require_program(folder / "bin" / name)
    for name in BUILDER:
        _require_program(folder / "builders" / "ccaas" / "bin" / name)
    for name in CONFIGS:
        if not (folder / "config" / name).is_file():
            raise InputError(f"{folder / 'config' / name} is missing; unpack the whole Fabric release")
    versions = {name: _version(folder / "bin" / name) for name in _VERSION_ARGUMENTS}
    for name, version in versions.items():
        if version != versions["peer"]:
            raise InputError(
                f"{folder / 'bin'} mixes releases: peer is {_spelled(versions['peer'])}, {name} is {_spelled(version)};"
                " unpack one of them whole"
            )
    return FabricHome(folder, versions["peer"])


def _require_program(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing; unpack the whole Fabric release, 2.5 or 3.1")
    if not os.access(path, os.X_OK):
        raise InputError(f"{path} cannot be executed; restore its mode with chmod +x")


def _version(program: Path) -> tuple[int, int]:
    try:
        done = subprocess.run(  # noqa: S603 (the program that the user names)
            [program, _VERSION_ARGUMENTS[program.name]], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{program} does not run on this machine: {error}") from error
    found = re.search(r"Version: v?(\d+)\.(\d+)", done.stdout + done.stderr)
    if found is None:
        raise InputError(f"{program} does not tell its version; take the programs of an official Fabric release, 2.5 or 3.1")
    version = int(found[1]), int(found[2])
    if version not in SUPPORTED:
        supported = " and ".join(map(_spelled, SUPPORTED))
        raise InputError(f"{program} is Fabric {_spelled(version)}; this product runs on {supported}: unpack one of these releases")
    return version


def _spelled(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
