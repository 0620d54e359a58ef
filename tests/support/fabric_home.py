"""A folder laid out as a Fabric release, whose programs are small scripts: they tell a version, listen where they are told, and obey."""

import sys
from pathlib import Path

from gateway.network.home import BUILDER, CONFIGS, PROGRAMS

# Every call is noted in calls.log beside the programs; one whose words contain a line of `fails` fails, and says so. The contract that
# answers is that of the definition committed last.
_SCRIPT = """#!{python}
import json, os, signal, socket, sys
from pathlib import Path
here, words = Path(__file__).parent, " ".join(sys.argv)
name, arguments = Path(__file__).name, sys.argv[1:]
if arguments in (["version"], ["-version"]):
    sys.exit(print(f"{{name}}:\\n Version: {version}"))
with (here / "calls.log").open("a") as log:
    log.write(f"{{name}} {{' '.join(arguments)}}\\n")
fails = here / "fails"
if fails.exists() and any(line in words for line in fails.read_text().splitlines()):
    sys.exit("told to fail")
definition = here / "definition.json"
if arguments[:3] == ["lifecycle", "chaincode", "commit"]:
    told = dict(zip(arguments, arguments[1:]))
    definition.write_text(json.dumps({{"version": told["--version"], "sequence": int(told["--sequence"])}}))
elif arguments[:3] == ["lifecycle", "chaincode", "querycommitted"]:
    print(definition.read_text())
elif arguments[:2] == ["chaincode", "query"]:
    print(json.dumps({{"version": json.loads(definition.read_text())["version"] + ".0"}}))
if name == "orderer":
    address = "127.0.0.1:" + os.environ["ORDERER_GENERAL_LISTENPORT"]
elif name == "peer" and arguments == ["node", "start"]:
    address = os.environ["CORE_PEER_LISTENADDRESS"]
else:
    sys.exit()
host, port = address.split(":")
server = socket.create_server((host, int(port)))
signal.pause()
"""


def make_home(folder: Path, **versions: str) -> Path:
    """A release whose programs tell the version `v3.1.5`, unless another is given by their name."""
    for name in PROGRAMS:
        _program(folder / "bin" / name, _SCRIPT.format(python=sys.executable, version=versions.get(name, "v3.1.5")))
    for name in BUILDER:
        _program(folder / "builders" / "ccaas" / "bin" / name, "#!/bin/sh\n")
    for name in CONFIGS:
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / name).write_text("externalBuilders:\n  - path: /opt/hyperledger/ccaas_builder\n")
    return folder


def calls(home: Path) -> list[str]:
    """What was called, a line each, version questions left out."""
    log = home / "bin" / "calls.log"
    return log.read_text().splitlines() if log.exists() else []


def let_fail(home: Path, *words: str) -> None:
    """From now on calls whose words contain one of these fail; none: nothing fails."""
    (home / "bin" / "fails").write_text("\n".join(words))


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
