"""A hospital's own certificate authority, as deploy/fabric/hospital-ca makes it with openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fabric.devpki import Organisation

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "fabric" / "hospital-ca"


class HospitalCa:
    """The authority's folder; every method is one run of the script."""

    def __init__(self, mspid: str, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed, with which deploy/fabric/hospital-ca issues certificates")
        self.organisation = Organisation(mspid, folder)
        self.run("init", mspid)

    @property
    def folder(self) -> Path:
        return self.organisation.folder

    def issue(self, name: str, unit: str, *hosts: str) -> None:
        self.run("issue", name, unit, *hosts)

    def revoke(self, certificate: Path) -> None:
        self.run("revoke", str(certificate))

    def rotate(self) -> None:
        self.run("rotate")

    def run(self, *words: str) -> None:
        done = subprocess.run([SCRIPT, self.organisation.folder, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip())
