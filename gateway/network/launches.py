"""How each of the network's programs is started."""

import os
import sys
from pathlib import Path

from gateway.network.description import MemberPlace, Network, OrdererPlace
from gateway.network.environment import orderer_environment, peer_environment
from gateway.network.home import FabricHome
from gateway.network.programs import Launch


def orderer(home: FabricHome, network: Network, place: OrdererPlace) -> Launch:
    return Launch(place.name, [home.program("orderer")], orderer_environment(network, place), place.endpoint)


def peer(home: FabricHome, network: Network, member: MemberPlace) -> Launch:
    return Launch(member.peer, [home.program("peer"), "node", "start"], peer_environment(network, member), member.endpoint)


def service(member: MemberPlace) -> Launch:
    command: list[str | Path] = [sys.executable, "-m", "gateway.cli", "chaincode", "serve", "--config", member.service_config]
    return Launch(member.service, command, os.environ, member.service_endpoint)


def everything(home: FabricHome, network: Network) -> list[Launch]:
    """All programs of the network, in the order in which they are started."""
    return [
        *(orderer(home, network, place) for place in network.orderers),
        *(peer(home, network, member) for member in network.members),
        *(service(member) for member in network.members),
    ]


def endpoints(network: Network) -> dict[str, str]:
    """Where each program listens, by its name, in the order of starting."""
    return {
        **{place.name: place.endpoint for place in network.orderers},
        **{member.peer: member.endpoint for member in network.members},
        **{member.service: member.service_endpoint for member in network.members},
    }
