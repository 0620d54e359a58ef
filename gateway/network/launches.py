"""How each of the network's programs is started."""

import os
import sys
from pathlib import Path

from gateway.network.description import MemberPlace, Network, OrdererPlace
from gateway.network.environment import orderer_environment, peer_environment
from gateway.network.home import FabricHome
from gateway.network.msp_folders import PEER
from gateway.network.placement import on_this_machine
from gateway.network.programs import Launch

PEER_ARGUMENTS = ("node", "start")
SERVICE_ARGUMENTS = ("chaincode", "serve", "--config")


def orderer(home: FabricHome, network: Network, place: OrdererPlace) -> Launch:
    at = on_this_machine(network, place.organisation, place.name, place.msp, place.name)
    return Launch(place.name, [home.program("orderer")], orderer_environment(place, at), place.endpoint)


def peer(home: FabricHome, network: Network, member: MemberPlace) -> Launch:
    at = on_this_machine(network, member.organisation, PEER, member.msp(PEER), member.peer)
    return Launch(member.peer, [home.program("peer"), *PEER_ARGUMENTS], peer_environment(member, at), member.endpoint)


def service(member: MemberPlace) -> Launch:
    command: list[str | Path] = [sys.executable, "-m", "gateway.cli", *SERVICE_ARGUMENTS, member.service_config]
    return Launch(member.service, command, os.environ, member.service_endpoint)


def everything(home: FabricHome, network: Network) -> list[Launch]:
    """All programs of the network, in the order in which they are started."""
    return [
        *(orderer(home, network, place) for place in network.orderers),
        *(peer(home, network, member) for member in network.members),
        *(service(member) for member in (*network.members, *network.upcoming)),
    ]


def endpoints(network: Network) -> dict[str, str]:
    """Where each program listens, by its name, in the order of starting."""
    return {
        **{place.name: place.endpoint for place in network.orderers},
        **{member.peer: member.endpoint for member in network.members},
        **{member.service: member.service_endpoint for member in (*network.members, *network.upcoming)},
    }
