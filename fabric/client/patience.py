"""How long the client waits and how often it tries again."""

import asyncio
import time
from dataclasses import dataclass
from random import SystemRandom

_random = SystemRandom()


@dataclass(frozen=True)
class Patience:
    """Every wait of the client, in seconds."""

    call_s: float = 30.0  # one gRPC call, commit status excepted
    unavailable_s: float = 30.0  # a ledger that is down, or peers that cannot endorse together
    conflict_s: float = 60.0  # a transaction that keeps colliding with others
    status_s: float = 10.0  # one wait for a commit, before the same transaction is handed in again
    unsure_s: float = 0.5  # the same wait when the transaction may not even have arrived
    commit_s: float = 120.0  # all waits for one transaction's commit
    pause_s: float = 0.05  # the first pause between attempts; later ones double, each shortened at random
    longest_pause_s: float = 2.0


class Backoff:
    """Pauses between attempts at one thing: doubling, cut at random so that callers who collided part, until a deadline."""

    def __init__(self, patience: Patience, limit_s: float = float("inf")) -> None:
        self._patience = patience
        self._deadline = time.monotonic() + limit_s
        self._attempts = 0

    def reset(self) -> None:
        self._attempts = 0

    async def pause(self) -> bool:
        """Wait before the next attempt; False, at once, when there is no time for one."""
        # Beyond 2**16 the cap below holds anyway, and a stream that is down for days must not overflow a float.
        longest = min(self._patience.longest_pause_s, self._patience.pause_s * 2 ** min(self._attempts, 16))
        delay = _random.uniform(longest / 2, longest)
        if time.monotonic() + delay >= self._deadline:
            return False
        self._attempts += 1
        await asyncio.sleep(delay)
        return True
