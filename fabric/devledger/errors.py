"""What can stop the embedded ledger from starting or keeping its data."""


class DevLedgerError(Exception):
    """The embedded ledger cannot start or go on; the message says what is wrong, where, and what to do."""


class LedgerStopping(DevLedgerError):  # noqa: N818 - nothing went wrong, waiting has an end
    """The ledger is being stopped, so nothing more can be waited for."""
