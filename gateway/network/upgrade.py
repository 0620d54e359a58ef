"""Put a later version of the contract on a running network: its services start beside the old ones, which stop once it is committed.

An upgrade that was cut off is gone on with by asking for it again: `network.json` says which one is under way.
"""

from collections.abc import Callable
from functools import partial

from fabric.contract.release import RELEASE, Release, rules_number
from fabric.lifecycle import Definition
from gateway.errors import InputError, Unavailable
from gateway.network import launches
from gateway.network.create import free_ports
from gateway.network.description import CHAINCODE, MemberPlace, Network, Upgrade, save
from gateway.network.home import FabricHome
from gateway.network.lifecycle import committed, contract_version, deploy, write_packages
from gateway.network.package import write_service_config
from gateway.network.programs import Launch, Programs, until
from gateway.network.status import running
from gateway.network.tools import Tools

Say = Callable[[str], None]
Serve = Callable[[MemberPlace], Launch]
"""How an organisation's chaincode service is started."""


def upgrade(network: Network, home: FabricHome, say: Say, *, release: Release = RELEASE, serve: Serve = launches.service) -> Network:
    """Return the network as it is when every peer answers with contract `release`; `say` hears of each step.

    Raises InputError where there is nothing to upgrade or something does not run, and Unavailable where a program fails.
    """
    network = _begun(network, home, release)
    tools, programs = Tools(home, network), Programs(network.folder)
    ids = _write_services(network)
    save(network)  # not before: what it names must be there to be started
    new = [serve(member) for member in network.upcoming]
    for launch in new:
        if programs.pid(launch.name) is None:
            programs.start(launch)
    for launch in new:
        programs.until_listening(launch)
    say(f"services of contract {release.rules} run beside the old ones: {', '.join(launch.name for launch in new)}")
    definition = Definition(CHAINCODE, release.rules, network.description.sequence + 1)
    if committed(tools, network.members[0], CHAINCODE).sequence < definition.sequence:
        deploy(network, tools, definition, ids)
    say(f"definition {definition.sequence} of the contract is installed, approved and committed")
    for member in network.members:
        until(partial(_expect, tools, member, release))
    say(f"contract {release.version} answers on the peers of {', '.join(member.mspid for member in network.members)}")
    return _finished(network, programs)


def _begun(network: Network, home: FabricHome, release: Release) -> Network:
    """The network with its upgrade described, in memory; raise InputError where it cannot be."""
    home.require(network.description.consensus)
    found, there, under_way = running(network), network.description.contract, network.description.upgrade
    needed = [*(place.name for place in network.orderers), *(member.peer for member in network.members)]
    missing = [name for name in needed if name not in found]
    if missing:
        raise InputError(f"{', '.join(missing)} of {network.folder} do not run; start the network first with `consortium network up`")
    if under_way is not None and under_way.contract != release.rules:
        raise InputError(
            f"an upgrade of {network.folder} to contract {under_way.contract} is under way and this program's contract is "
            f"{release.rules}; finish it with the program that began it"
        )
    if under_way is not None:
        return network
    if rules_number(there) >= rules_number(release.rules):
        own = "the same" if there == release.rules else f"{release.rules}, which is earlier"
        raise InputError(
            f"the channel of {network.folder} is under contract {there}; this program's is {own}, so there is nothing to upgrade"
        )
    services = tuple(free_ports(len(network.members)))
    return Network(network.folder, network.description.model_copy(update={"upgrade": Upgrade(contract=release.rules, services=services)}))


def _write_services(network: Network) -> dict[str, str]:
    """Packages and configurations of the new services; returns the packages' ids by MSP id."""
    ids = write_packages(network, CHAINCODE, {member.mspid: member.service_endpoint for member in network.upcoming})
    for member in network.upcoming:
        write_service_config(member.organisation, member.service_endpoint, ids[member.mspid], member.service_config)
    return ids


def _expect(tools: Tools, member: MemberPlace, release: Release) -> None:
    found = contract_version(tools, member)
    if found != release.version:
        raise Unavailable(f"the peer of {member.mspid} answers with contract {found}, not {release.version}; its log says why")


def _finished(network: Network, programs: Programs) -> Network:
    old = [member.service for member in network.members]
    description = network.description
    assert description.upgrade is not None  # `_begun` described it
    after = description.model_copy(
        update={
            "members": tuple(member.ports for member in network.upcoming),
            "contract": description.upgrade.contract,
            "sequence": description.sequence + 1,
            "upgrade": None,
        }
    )
    upgraded = Network(network.folder, after)
    save(upgraded)
    programs.stop(old)
    return upgraded
