"""What the chaincode service counts, in Prometheus' form: how many calls, how long, how they ended. Never an argument or a value."""

from collections.abc import Collection
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_OTHER = "other"


class Outcome(StrEnum):
    """How one call of the contract ended."""

    COMPLETED = "completed"
    REFUSED = "refused"  # by a rule of the contract
    CRASHED = "crashed"  # the contract raised what it must not; the log says where
    PEER_FAILED = "peer_failed"  # the peer answered a question with an error, or left
    UNREADABLE = "unreadable"  # the peer's message is no invocation of this contract
    TURNED_AWAY = "turned_away"  # too many calls were in the house, or the service was stopping


class Metrics:
    """One service's counters. The function's name is the caller's word, so only those in `functions` are shown, any other as "other"."""

    def __init__(self, functions: Collection[str]) -> None:
        self._functions = frozenset(functions)
        self.registry = CollectorRegistry()
        self.streams = Gauge("consortium_chaincode_streams", "Peers connected", registry=self.registry)
        self.in_flight = Gauge("consortium_chaincode_calls_in_flight", "Calls that wait or run", registry=self.registry)
        self._calls = Counter("consortium_chaincode_calls", "Calls answered", ["function", "outcome"], registry=self.registry)
        self._seconds = Histogram(
            "consortium_chaincode_call_seconds", "From a call's arrival to its answer", ["function"], registry=self.registry
        )

    def answered(self, function: str, outcome: Outcome, seconds: float) -> None:
        """A call that was admitted is answered."""
        name = self._shown(function)
        self._calls.labels(name, outcome).inc()
        self._seconds.labels(name).observe(seconds)

    def turned_away(self) -> None:
        self._calls.labels(_OTHER, Outcome.TURNED_AWAY).inc()

    def _shown(self, function: str) -> str:
        return function if function in self._functions else _OTHER
