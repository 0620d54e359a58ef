"""Bring a network up: start its programs and, the first time, make the channel and put the contract on it."""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial

from fabric.contract.release import RELEASE, rules_number
from fabric.devledger.port import is_busy
from fabric.lifecycle import Definition
from gateway.errors import InputError, PortInUse
from gateway.network import launches
from gateway.network.channel_profile import PROFILE, configtx
from gateway.network.description import CHAINCODE, CHANNEL, HOST, Network, OrdererPlace
from gateway.network.home import FabricHome
from gateway.network.lifecycle import contract_version, deploy, write_packages
from gateway.network.package import write_service_config
from gateway.network.programs import Programs, until
from gateway.network.status import running
from gateway.network.tools import Tools

Say = Callable[[str], None]


def up(network: Network, home: FabricHome, say: Say) -> None:
    """Return when every peer answers for the contract; `say` hears of each step.

    Raises Unavailable, PortInUse or InputError with one sentence, and then, or when interrupted, nothing of the network runs.
    """
    home.require(network.description.consensus)
    if network.elsewhere:
        raise InputError(f"{network.folder} describes {network.elsewhere[0]}, which is not this machine; use `consortium network render`")
    _require_contract(network)
    programs = Programs(network.folder)
    if found := running(network):
        raise InputError(f"{', '.join(found)} of {network.folder} run already; stop them first with `consortium network down`")
    _refuse_taken_ports(network)
    try:
        _Rise(network, home, programs, say).run()
    except BaseException:
        programs.stop(list(running(network)))
        raise


class _Rise:
    """One bringing up."""

    def __init__(self, network: Network, home: FabricHome, programs: Programs, say: Say) -> None:
        self._network, self._home, self._programs, self._say = network, home, programs, say
        self._tools = Tools(home, network)

    def run(self) -> None:
        first = not self._network.made.exists()
        self._write_config()
        ids = self._write_packages() if first else {}
        started = launches.everything(self._home, self._network)
        for launch in started:
            self._programs.start(launch)
        for launch in started:
            self._programs.until_listening(launch)
        self._say(f"{len(started)} programs run: {', '.join(launch.name for launch in started)}")
        if first:
            self._make_channel(ids)
            self._network.made.touch()
        for member in self._network.members:
            until(partial(contract_version, self._tools, member))
        self._say(f"the contract answers on the peers of {', '.join(member.mspid for member in self._network.members)}")

    def _write_config(self) -> None:
        """Written at every start: the release may have moved, or be another one."""
        network = self._network
        network.config.mkdir(exist_ok=True)
        (network.config / "configtx.yaml").write_text(json.dumps(configtx(network), indent=1), encoding="utf-8")
        released = self._home.config("core.yaml").read_text(encoding="utf-8")
        core = released.replace("path: /opt/hyperledger/ccaas_builder", f"path: {json.dumps(str(self._home.builder))}")
        (network.config / "core.yaml").write_text(core, encoding="utf-8")
        shutil.copyfile(self._home.config("orderer.yaml"), network.config / "orderer.yaml")

    def _write_packages(self) -> dict[str, str]:
        # What an attempt left that did not come to its end would be in the way of the channel's first block.
        shutil.rmtree(self._network.folder / "data", ignore_errors=True)
        ids = write_packages(self._network, CHAINCODE, {member.mspid: member.service_endpoint for member in self._network.members})
        for member in self._network.members:
            write_service_config(member.organisation, member.service_endpoint, ids[member.mspid], member.service_config)
        return ids

    def _make_channel(self, ids: Mapping[str, str]) -> None:
        genesis = self._network.genesis
        self._tools.configtxgen("-profile", PROFILE, "-channelID", CHANNEL, "-outputBlock", genesis)
        for orderer in self._network.orderers:
            until(partial(self._join_orderer, orderer))
        for member in self._network.members:
            until(partial(self._tools.peer, member, "channel", "join", "-b", genesis))
        self._say(f"channel {CHANNEL} is joined by {len(self._network.members)} organisations")
        deploy(self._network, self._tools, Definition(CHAINCODE, self._network.description.contract, 1), ids)
        self._say(f"chaincode {CHAINCODE} is installed, approved and committed")

    def _join_orderer(self, orderer: OrdererPlace) -> None:
        files = orderer.organisation.files(orderer.name)
        self._tools.osnadmin(
            *("channel", "join", "--channelID", CHANNEL, "--config-block", self._network.genesis),
            *("-o", f"{HOST}:{orderer.ports.admin}", "--ca-file", orderer.organisation.tls_ca),
            *("--client-cert", files.tls_certificate, "--client-key", files.tls_private_key),
        )


def _require_contract(network: Network) -> None:
    """A service of an earlier contract could not read what the channel holds."""
    there = network.description.contract
    if rules_number(there) > rules_number(RELEASE.rules):
        raise InputError(
            f"the channel of {network.folder} is under contract {there}, later than this program's {RELEASE.rules}; use its own"
        )


def _refuse_taken_ports(network: Network) -> None:
    for name, endpoint in launches.endpoints(network).items():
        if is_busy(endpoint):
            raise PortInUse(f"{endpoint}, where {name} is to listen, is in use by another program; stop that one")
