"""What runs in the processes that check signatures. Imports little: every such process imports it anew."""

import multiprocessing
import os
import signal
import threading

from fabric.examination import SignatureCheck, signature_flaw


def check(signatures: list[SignatureCheck]) -> list[str]:
    return [signature_flaw(one) for one in signatures]


def prepare() -> None:
    """Such a process ends with the one it works for, and leaves interrupts to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a child only
    parent.join()
    os._exit(1)
