"""Containers as a Compose file, for one machine of an organisation. Paths are relative to the organisation's folder."""

from collections.abc import Sequence
from typing import Any

from gateway.network.containers import OWN_USER, Container

_HOST_ONLY = "127.0.0.1"
_PATIENCE = {"interval": "30s", "timeout": "10s", "retries": 3, "start_period": "60s"}


def compose(name: str, containers: Sequence[Container]) -> dict[str, Any]:
    """The file's content; `name` is the project's, so that organisations on one machine stay apart."""
    return {
        "name": name,
        "services": {container.name: _service(container) for container in containers},
        "volumes": {f"{container.name}-data": {} for container in containers if container.data},
    }


def _service(container: Container) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [
        # Without create_host_path a missing file would become an empty folder.
        {"type": "bind", "source": f"./{source}", "target": target, "read_only": True, "bind": {"create_host_path": False}}
        for target, source in container.files.items()
    ]
    if container.data:
        mounts.append({"type": "volume", "source": f"{container.name}-data", "target": container.data})
    service: dict[str, Any] = {
        "image": container.image,
        "entrypoint": list(container.command),  # the whole command line, whatever the image's own is
        "restart": "unless-stopped",
        "stop_grace_period": "30s",
        "security_opt": ["no-new-privileges:true"],
        "volumes": mounts,
        "healthcheck": {"test": ["CMD-SHELL", health_command(container)], **_PATIENCE},
    }
    if container.environment:
        service["environment"] = dict(container.environment)
    if ports := _ports(container):
        service["ports"] = ports
    if container.reached_as:
        # A program that calls itself by the name that others use must not leave the machine for it.
        service["extra_hosts"] = [f"{container.reached_as}:{_HOST_ONLY}"]
    if not container.data:
        # Only this product's own program keeps nothing. Its keys are readable by their owner alone, so it runs as that user.
        service |= {"user": f"${{CONSORTIUM_USER:-{OWN_USER}}}", "read_only": True, "tmpfs": ["/tmp"], "cap_drop": ["ALL"]}  # noqa: S108 (of the container)
    return service


def _ports(container: Container) -> list[str]:
    published = [f"{container.port}:{container.port}"] if container.reached_as else []
    administration = [f"{_HOST_ONLY}:{container.admin_port}:{container.admin_port}"] if container.admin_port else []
    return [*published, *administration]


def health_command(container: Container) -> str:
    """Asked inside the container by its shell."""
    if container.health_port is None:
        return f"python -c 'import socket; socket.create_connection((\"{_HOST_ONLY}\", {container.port}), 5)'"
    # Some of the official images have wget, others bash: either asks.
    asked = (
        f"exec 3<>/dev/tcp/{_HOST_ONLY}/{container.health_port}; "
        'printf "GET /healthz HTTP/1.0\\r\\n\\r\\n" >&3; head -n 1 <&3 | grep -q " 200 "'
    )
    return f"wget -q -O /dev/null http://{_HOST_ONLY}:{container.health_port}/healthz || bash -c '{asked}'"
