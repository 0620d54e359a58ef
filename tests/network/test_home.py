"""What a folder of Fabric's programs must hold."""

import re
from pathlib import Path

import pytest

from gateway.errors import InputError
from gateway.network.home import BUILDER, CONFIGS, PROGRAMS, open_home
from tests.support.fabric_home import make_home


@pytest.mark.parametrize(("told", "version"), [("v3.1.5", (3, 1)), ("2.5.16", (2, 5)), ("v2.5.0-snapshot-1", (2, 5))])
def test_a_supported_release_is_taken(tmp_path: Path, told: str, version: tuple[int, int]) -> None:
    home = open_home(make_home(tmp_path, **dict.fromkeys(PROGRAMS, told)))
    assert home.version == version
    assert home.program("peer").is_file()
    assert (home.builder / "bin" / "detect").is_file()


@pytest.mark.parametrize(
    "missing",
    [*(f"bin/{name}" for name in PROGRAMS), *(f"builders/ccaas/bin/{name}" for name in BUILDER), *(f"config/{c}" for c in CONFIGS)],
)
def test_each_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    (make_home(tmp_path) / missing).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(missing)} is missing; unpack the whole Fabric release"):
        open_home(tmp_path)


def test_what_cannot_be_executed_is_named(tmp_path: Path) -> None:
    (make_home(tmp_path) / "bin" / "orderer").chmod(0o644)
    with pytest.raises(InputError, match="bin/orderer cannot be executed"):
        open_home(tmp_path)


def test_a_program_of_another_machine_is_named(tmp_path: Path) -> None:
    (make_home(tmp_path) / "bin" / "peer").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(InputError, match="bin/peer does not run on this machine"):
        open_home(tmp_path)


@pytest.mark.parametrize("told", ["2.2.15", "v1.4.12", "v3.0.0", "v4.1.0"])
def test_other_releases_are_refused_by_their_version(tmp_path: Path, told: str) -> None:
    make_home(tmp_path, **dict.fromkeys(PROGRAMS, told))
    release = ".".join(told.removeprefix("v").split(".")[:2])
    with pytest.raises(InputError, match=rf"is Fabric {re.escape(release)}; this product runs on 2\.5 and 3\.1"):
        open_home(tmp_path)


@pytest.mark.parametrize("name", ["orderer", "configtxgen"])
def test_programs_of_two_releases_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"mixes releases: peer is 3\.1, {name} is 2\.5"):
        open_home(make_home(tmp_path, **{name: "2.5.16"}))


def test_a_program_that_tells_no_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="peer does not tell its version"):
        open_home(make_home(tmp_path, peer="development"))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder; name the folder of an unpacked Fabric release"):
        open_home(tmp_path / "nowhere")


def test_bft_needs_the_third_release(tmp_path: Path) -> None:
    old = open_home(make_home(tmp_path / "old", **dict.fromkeys(PROGRAMS, "2.5.16")))
    new = open_home(make_home(tmp_path / "new"))
    with pytest.raises(InputError, match=r"is Fabric 2\.5, and BFT ordering came with 3\.0"):
        old.require("bft")
    for home, consensus in ((old, "raft"), (new, "raft"), (new, "bft")):
        home.require(consensus)
