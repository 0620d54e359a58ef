"""A chaincode package for Fabric's built-in `ccaas` builder: nothing but where the organisation's service listens."""

import gzip
import hashlib
import json
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from fabric.devpki import Organisation
from gateway.network.msp_folders import SERVICE, SERVICE_CLIENT
from gateway.toml_file import render


def write_package(organisation: Organisation, label: str, address: str, path: Path) -> str:
    """Write the package of an organisation whose service is at `address` ("host:port", as its peer reaches it); returns its id."""
    data = package(label, connection(organisation, address))
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)  # it holds the key with which the peer calls the service
    path.write_bytes(data)
    return package_id(label, data)


def write_service_config(organisation: Organisation, listen: str, package_id: str, path: Path) -> None:
    """Write the configuration of the organisation's chaincode service."""
    files = organisation.files(SERVICE)
    sections: dict[str, dict[str, object]] = {
        "chaincode": {"listen": listen, "package_id": package_id},
        "tls": {"certificate": files.tls_certificate, "private_key": files.tls_private_key, "client_ca": organisation.tls_ca},
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(render(sections, folder=path.parent), encoding="utf-8")


def connection(organisation: Organisation, address: str) -> dict[str, Any]:
    """What an organisation's peer reads to reach the service at `address` over mutual TLS."""
    files = organisation.files(SERVICE_CLIENT)
    return {
        "address": address,
        "dial_timeout": "10s",
        "tls_required": True,
        "client_auth_required": True,
        "client_cert": files.tls_certificate.read_text(encoding="ascii"),
        "client_key": files.tls_private_key.read_text(encoding="ascii"),
        "root_cert": organisation.tls_ca.read_text(encoding="ascii"),
    }


def package(label: str, connection: Mapping[str, Any]) -> bytes:
    """The package's bytes, the same for the same arguments: its id is their digest."""
    code = _archive({"connection.json": json.dumps(connection).encode()})
    return _archive({"metadata.json": json.dumps({"type": "ccaas", "label": label}).encode(), "code.tar.gz": code})


def package_id(label: str, data: bytes) -> str:
    """The id under which a peer installs a package, as `peer lifecycle chaincode calculatepackageid` prints it."""
    return f"{label}:{hashlib.sha256(data).hexdigest()}"


def _archive(files: Mapping[str, bytes]) -> bytes:
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, BytesIO(data))
    return gzip.compress(archive.getvalue(), mtime=0)
