"""What a gateway counts for the hospital's monitoring, in Prometheus' form. Counts only: never a value of a patient or a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from gateway.errors import PortInUse


class Metrics:
    """One gateway's counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tasks = Gauge("consortium_tasks", "Tasks this gateway follows that are not over", registry=self.registry)
        self.contributions = Counter("consortium_contributions", "Updates revealed on the ledger", registry=self.registry)
        self.heartbeats = Counter("consortium_heartbeats", "Heartbeats sent while a task waited", registry=self.registry)
        self.failures = Counter("consortium_failed_steps", "Steps that failed and were tried again", registry=self.registry)

    @contextmanager
    def served(self, listen: str) -> Iterator[None]:
        """Serve the counters over HTTP at host:port; nothing is served where `listen` is empty."""
        if not listen:
            yield
            return
        host, _, port = listen.rpartition(":")
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), registry=self.registry)
        except OSError as error:
            raise PortInUse(f"{listen} is taken by another program; stop it or set [gateway] metrics to a free port") from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
