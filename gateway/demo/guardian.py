"""A process that outlives the demo by seconds: however the demo ends, even by kill -9, what it had started is ended.

It reads process ids from its standard input, one a line, and takes the end of input for the end of the demo.
"""

import os
import signal
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.1


def main() -> None:
    """Wait for the end of input, then end every process group whose id was read."""
    # An interrupt at the terminal reaches this process too; it has to stay until the demo has cleaned up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    groups = [int(line) for line in sys.stdin]
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(_alive(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _signal(groups, signal.SIGKILL)


def _signal(groups: list[int], number: signal.Signals) -> None:
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, number)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
