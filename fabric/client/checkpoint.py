"""Where a reader of events or blocks stands, so that it can go on there later and at another peer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """Everything before block `next_block` has been read, and of that block what precedes transaction `tx_id` and that one itself.

    Blocks are the same at every peer, so a checkpoint taken at one holds at all. Whoever acts on events acts once if it stores
    the checkpoint together with what it did; `gateway.auditor.event_log` does.
    """

    next_block: int
    tx_id: str = ""
    """Empty at the beginning of a block."""

    @classmethod
    def before_block(cls, number: int) -> "Checkpoint":
        """Nothing of block `number` has been read."""
        return cls(number)
