"""A chaincode's way onto the channel: installed and approved by every organisation, committed by a majority of them."""

import json
from collections.abc import Mapping
from pathlib import Path

from fabric.lifecycle import Definition
from gateway.errors import Unavailable
from gateway.network.description import CHAINCODE, CHANNEL, MemberPlace, Network
from gateway.network.package import write_package
from gateway.network.programs import until
from gateway.network.tools import Tools

# What a peer says to a second approval of the same: an earlier try has done it, and its answer was lost.
_APPROVED = "with unchanged content"


def write_packages(network: Network, chaincode: str, addresses: Mapping[str, str]) -> dict[str, str]:
    """Write each organisation's package, which names its service's address (by MSP id); returns the packages' ids by MSP id."""
    return {
        member.mspid: write_package(member.organisation, chaincode, addresses[member.mspid], package_file(network, chaincode, member.mspid))
        for member in network.members
    }


def package_file(network: Network, chaincode: str, mspid: str) -> Path:
    return network.folder / "packages" / f"{chaincode}-{mspid}.tgz"


def deploy(network: Network, tools: Tools, definition: Definition, ids: Mapping[str, str]) -> None:
    """Install, approve and commit the packages of `write_packages`; raise Unavailable if a program fails.

    The endorsement policy is the channel's: a majority of the organisations. From the commit on, every peer calls the service that its
    organisation's package names.
    """
    chaincode = definition.chaincode
    words = (*tools.channel(), "--name", chaincode, "--version", definition.version, "--sequence", str(definition.sequence))

    def install(member: MemberPlace) -> None:
        if ids[member.mspid] not in tools.peer(member, "lifecycle", "chaincode", "queryinstalled"):
            tools.peer(member, "lifecycle", "chaincode", "install", package_file(network, chaincode, member.mspid))

    def approve(member: MemberPlace) -> None:
        try:
            tools.peer(member, "lifecycle", "chaincode", "approveformyorg", *words, "--package-id", ids[member.mspid])
        except Unavailable as failure:
            if _APPROVED not in str(failure):
                raise

    def commit() -> None:
        try:
            tools.peer(network.members[0], "lifecycle", "chaincode", "commit", *words, *peers)
        except Unavailable:
            # An earlier try whose answer was lost may have done it, and its sequence is not to be had again.
            if not _stands(tools, network.members[0], definition):
                raise

    tools.each(install)
    tools.each(lambda member: until(lambda: approve(member)))
    peers = [
        word
        for member in network.members
        for word in ("--peerAddresses", member.endpoint, "--tlsRootCertFiles", member.organisation.tls_ca)
    ]
    until(commit)


def _stands(tools: Tools, member: MemberPlace, definition: Definition) -> bool:
    try:
        return committed(tools, member, definition.chaincode) == definition
    except Unavailable:
        return False


def committed(tools: Tools, member: MemberPlace, chaincode: str) -> Definition:
    """The definition on the channel, as an organisation's peer knows it."""
    said = json.loads(
        tools.peer(member, "lifecycle", "chaincode", "querycommitted", "--channelID", CHANNEL, "--name", chaincode, "--output", "json")
    )
    return Definition(chaincode, said["version"], int(said["sequence"]))


def contract_version(tools: Tools, member: MemberPlace) -> str:
    """Which contract answers an organisation's peer; raise Unavailable if none does."""
    query = json.dumps({"Args": ["version"]})
    answer = tools.peer(member, "chaincode", "query", "-C", CHANNEL, "-n", CHAINCODE, "-c", query)
    try:
        return str(json.loads(answer)["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"chaincode {CHAINCODE} at the peer of {member.mspid} is not the consortium's contract") from error
