"""Containers as Kubernetes manifests, in one namespace an organisation.

Keys are never in them: they name Secrets, one for each identity's folder, that the organisation makes of its own files; the ConfigMap
`authorities` is its folder `msp`, and each other file is a ConfigMap of the file's name.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from gateway.network.containers import NODE_OUS_SOURCE, OWN_USER, Container
from gateway.network.msp_folders import node_ous_config
from gateway.network.placement import CONTAINER_FILES

AUTHORITIES = "authorities"
_DATA_GIB = 50


def manifests(namespace: str, containers: Sequence[Container]) -> list[dict[str, Any]]:
    """The documents of the file, in the order in which they are to be applied."""
    fabric = any(container.data for container in containers)
    node_ous = [_object("v1", "ConfigMap", "node-ous", namespace, data={NODE_OUS_SOURCE: node_ous_config()})] if fabric else []
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        *node_ous,
        *(document for container in containers for document in (_service(container, namespace), _workload(container, namespace))),
    ]


def _object(version: str, kind: str, name: str, namespace: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}}, **content}


def _service(container: Container, namespace: str) -> dict[str, Any]:
    port = {"name": "grpc", "port": container.port, "targetPort": container.port}
    kind = "LoadBalancer" if container.reached_as else "ClusterIP"
    return _object("v1", "Service", container.name, namespace, spec={"type": kind, "selector": {"app": container.name}, "ports": [port]})


def _workload(container: Container, namespace: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "replicas": 1,  # a second copy of a peer or an orderer would be another node, with an identity of its own
        "selector": {"matchLabels": {"app": container.name}},
        "template": {"metadata": {"labels": {"app": container.name}}, "spec": _pod(container)},
    }
    if not container.data:
        return _object("apps/v1", "Deployment", container.name, namespace, spec=spec)
    spec["serviceName"] = container.name
    spec["volumeClaimTemplates"] = [
        {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{_DATA_GIB}Gi"}}},
        }
    ]
    return _object("apps/v1", "StatefulSet", container.name, namespace, spec=spec)


def _pod(container: Container) -> dict[str, Any]:
    mounts = [{"name": "files", "mountPath": CONTAINER_FILES, "readOnly": True}]
    if container.data:
        mounts.append({"name": "data", "mountPath": container.data})
    ports = [{"name": "grpc", "containerPort": container.port}]
    if container.admin_port:
        ports.append({"name": "admin", "containerPort": container.admin_port})
    if container.health_port:
        ports.append({"name": "health", "containerPort": container.health_port})
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        # Variables that Kubernetes makes of services' names could be read as settings of Fabric's.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": container.name,
                "image": container.image,
                "command": list(container.command),
                "env": [{"name": name, "value": value} for name, value in container.environment.items()],
                "ports": ports,
                "readinessProbe": {**_probe(container), "periodSeconds": 10, "timeoutSeconds": 5},
                "livenessProbe": {**_probe(container), "initialDelaySeconds": 60, "periodSeconds": 30, "timeoutSeconds": 10},
                "securityContext": {"allowPrivilegeEscalation": False},
                "volumeMounts": mounts,
            }
        ],
        "volumes": [{"name": "files", "projected": {"defaultMode": 0o440, "sources": _sources(container)}}],
    }
    if container.reached_as:
        # A program that calls itself by the name that others use must not leave the cluster for it.
        pod["hostAliases"] = [{"ip": "127.0.0.1", "hostnames": [container.reached_as]}]
    if not container.data:
        pod["securityContext"] |= {"runAsNonRoot": True, "runAsUser": OWN_USER, "runAsGroup": OWN_USER, "fsGroup": OWN_USER}
        pod["containers"][0]["securityContext"] |= {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    return pod


def _probe(container: Container) -> dict[str, Any]:
    if container.health_port is None:
        return {"tcpSocket": {"port": container.port}}
    return {"httpGet": {"path": "/healthz", "port": container.health_port}}


def _sources(container: Container) -> list[dict[str, Any]]:
    """The container's files, gathered by the Secret or ConfigMap that holds them."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for target, source in container.files.items():
        item = {"key": PurePosixPath(source).name, "path": str(PurePosixPath(target).relative_to(CONTAINER_FILES))}
        found.setdefault(_holder(source), []).append(item)
    return [{kind: {"name": name, "items": items}} for (kind, name), items in found.items()]


def _holder(source: str) -> tuple[str, str]:
    path = PurePosixPath(source)
    if len(path.parts) == 1:
        return "configMap", path.stem
    return ("configMap", AUTHORITIES) if path.parts[0] == "msp" else ("secret", path.parts[0])
