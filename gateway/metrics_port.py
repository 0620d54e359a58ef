"""The HTTP port at which Prometheus finds a process' counters."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from gateway.errors import PortInUse


@contextmanager
def metrics_served(registry: CollectorRegistry, listen: str, key: str) -> Iterator[None]:
    """Serve the counters at host:port; nothing is served where `listen` is empty. `key`: where the configuration says so.

    Raises PortInUse.
    """
    if not listen:
        yield
        return
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry=registry)
    except OSError as error:
        raise PortInUse(f"{listen} is taken by another program; stop it or set {key} to a free port") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
