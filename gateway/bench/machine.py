"""The machine that a benchmark ran on: what a reader needs to judge its numbers."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_KIB_PER_GIB = 2**20
_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Machine:
    """Cores are those this process may run on; `load` is how many processes wanted to run in the minute before, by the kernel's count."""

    cpu: str
    cores: int
    memory_gib: float
    load: float
    system: str
    python: str
    versions: dict[str, str]

    @property
    def line(self) -> str:
        """The machine for people."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB of memory, {self.system}, Python {self.python}"
            f"{', ' + versions if versions else ''}; load {self.load:.1f} when it began"
        )


def describe(packages: Sequence[str]) -> Machine:
    """Describe this machine, with the installed versions of `packages`, which the measurement depends on."""
    return Machine(
        cpu=cpu_model(_read(_CPU_INFO)) or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory_kib(_read(_MEMORY_INFO)) / _KIB_PER_GIB, 1),
        load=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in packages},
    )


def cpu_model(cpu_info: str) -> str:
    """The processor's name from the text of /proc/cpuinfo; "" where it tells none."""
    return _field(cpu_info, "model name")


def memory_kib(memory_info: str) -> int:
    """KiB of memory from the text of /proc/meminfo; 0 where it tells none."""
    return int(_field(memory_info, "MemTotal").removesuffix("kB").strip() or 0)


def _field(text: str, name: str) -> str:
    values = (line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(name) and ":" in line)
    return next(values, "")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # another system: the benchmark runs all the same
        return ""
