"""When a task's permit ends: by the clock of who asks, for the ledger has none. No I/O."""

from datetime import datetime

from gateway.errors import PolicyRefused


def check_permit(permit: str, last_day: str, *, now: datetime) -> None:
    """Raise PolicyRefused after the permit's `last_day` (YYYY-MM-DD of UTC; empty: it does not end). `now` is of UTC."""
    if last_day and now.date().isoformat() > last_day:
        raise PolicyRefused(f"the permit {permit} ended on {last_day}: nothing runs under it any more; a task needs a permit that is valid")
