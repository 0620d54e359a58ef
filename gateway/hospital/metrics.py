"""What a gateway counts for the hospital's monitoring, in Prometheus' form. Counts only: never a value of a patient or a model."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """One gateway's counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tasks = Gauge("consortium_tasks", "Tasks this gateway follows that are not over", registry=self.registry)
        self.contributions = Counter("consortium_contributions", "Updates revealed on the ledger", registry=self.registry)
        self.heartbeats = Counter("consortium_heartbeats", "Heartbeats sent while a task waited", registry=self.registry)
        self.failures = Counter("consortium_failed_steps", "Steps that failed and were tried again", registry=self.registry)
