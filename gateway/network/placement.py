"""Where a program of Fabric finds its files and on which addresses it listens: on this machine, or in a container."""

from dataclasses import dataclass
from pathlib import Path

from fabric.devpki import Organisation
from gateway.network.description import HOST, Network

CONTAINER_FILES = "/etc/consortium"
"""Where a container finds what is mounted into it."""
CONTAINER_DATA = "/var/hyperledger/production"
OPERATIONS_PORT = 9443
"""Where a container answers whether it is healthy; not published."""


@dataclass(frozen=True)
class Placement:
    """Paths as the program sees them. `config` holds core.yaml and orderer.yaml; `operations` is "host:port"."""

    config: str
    msp: str
    tls_certificate: str
    tls_private_key: str
    tls_ca: str
    data: str
    listen: str
    operations: str


def on_this_machine(network: Network, organisation: Organisation, identity: str, msp: Path, program: str) -> Placement:
    """A process of the network in its folder, on loopback."""
    files = organisation.files(identity)
    return Placement(
        config=str(network.config),
        msp=str(msp),
        tls_certificate=str(files.tls_certificate),
        tls_private_key=str(files.tls_private_key),
        tls_ca=str(organisation.tls_ca),
        data=str(network.folder / "data" / program),
        listen=HOST,
        operations=f"{HOST}:0",
    )


IN_A_CONTAINER = Placement(
    config="/etc/hyperledger/fabric",  # of the official images, whose core.yaml names the builder for chaincode services
    msp=f"{CONTAINER_FILES}/msp",
    tls_certificate=f"{CONTAINER_FILES}/tls/cert.pem",
    tls_private_key=f"{CONTAINER_FILES}/tls/key.pem",
    tls_ca=f"{CONTAINER_FILES}/tls/ca.pem",
    data=CONTAINER_DATA,
    listen="0.0.0.0",  # noqa: S104 (inside the container; what is reachable is what the manifest publishes)
    operations=f"0.0.0.0:{OPERATIONS_PORT}",
)
