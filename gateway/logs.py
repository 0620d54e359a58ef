"""Logs of a process: one JSON object a line on standard error. Never a patient, a value of a patient, a key or a proposal."""

import json
import logging
import sys
from datetime import UTC, datetime


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(*, level: int = logging.INFO) -> None:
    """Set up the process's logging; called once, by whoever starts the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    quieten_grpc()


def quieten_grpc() -> None:
    """Keep gRPC's debug messages out of the log, whatever the level.

    One of them is written while a server is being freed and carries the server: a record kept for a moment is then a record of freed
    memory, and the process crashes.
    """
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.INFO)
