"""A chaincode's way onto the channel: installed and approved by every organisation, committed by a majority of them."""

from collections.abc import Mapping
from pathlib import Path

from gateway.network.description import MemberPlace, Network
from gateway.network.package import connection, package, package_id
from gateway.network.programs import until
from gateway.network.tools import Tools


def write_packages(network: Network, chaincode: str, addresses: Mapping[str, str]) -> dict[str, str]:
    """Write each organisation's package, which names its service's address (by MSP id); returns the packages' ids by MSP id."""
    ids = {}
    for member in network.members:
        data = package(chaincode, connection(member, addresses[member.mspid]))
        ids[member.mspid] = package_id(chaincode, data)
        path = package_file(network, chaincode, member.mspid)
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)  # it holds the key with which the peer calls the service
        path.write_bytes(data)
    return ids


def package_file(network: Network, chaincode: str, mspid: str) -> Path:
    return network.folder / "packages" / f"{chaincode}-{mspid}.tgz"


def deploy(network: Network, tools: Tools, chaincode: str, ids: Mapping[str, str]) -> None:
    """Install, approve and commit the packages of `write_packages` as version 1; raise Unavailable if a program fails.

    The endorsement policy is the channel's: a majority of the organisations.
    """
    definition = (*tools.channel(), "--name", chaincode, "--version", "1", "--sequence", "1")

    def install(member: MemberPlace) -> None:
        tools.peer(member, "lifecycle", "chaincode", "install", package_file(network, chaincode, member.mspid))

    def approve(member: MemberPlace) -> None:
        arguments = (*definition, "--package-id", ids[member.mspid])
        until(lambda: tools.peer(member, "lifecycle", "chaincode", "approveformyorg", *arguments))

    tools.each(install)
    tools.each(approve)
    peers = [
        word
        for member in network.members
        for word in ("--peerAddresses", member.endpoint, "--tlsRootCertFiles", member.organisation.tls_ca)
    ]
    until(lambda: tools.peer(network.members[0], "lifecycle", "chaincode", "commit", *definition, *peers))
