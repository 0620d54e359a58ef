"""Who takes part in a task, as the exchange asks before it takes or gives anything: from the ledger, asked again at each phase."""

from fabric.client.errors import ContractRefused
from fabric.ledger import Ledger
from privacy.ckks import ciphertext_size

# What a task needs beside its ciphertexts: parts of keys and their shares, at most a few hundred KiB each.
KEY_MATERIAL_BYTES = 1 << 20


class TaskMembership:
    """Implements gateway.aggregator.exchange.Membership."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, tuple[frozenset[str], int]] = {}

    async def participants(self, task_id: str) -> frozenset[str]:
        return (await self._task(task_id))[0]

    async def blob_limit_bytes(self, task_id: str) -> int:
        return (await self._task(task_id))[1]

    def forget(self, task_id: str) -> None:
        """The task moved: whoever was dropped from it, or has joined, is found at the next call."""
        self._known.pop(task_id, None)

    async def _task(self, task_id: str) -> tuple[frozenset[str], int]:
        if task_id not in self._known:
            try:
                view = await self._ledger.task(task_id)
            except ContractRefused:
                return frozenset(), 0
            groups = max(1, len(view.participants) // view.terms.group_size)
            # A quorum member's blob holds a share for every group, each as large as a ciphertext at most.
            limit = KEY_MATERIAL_BYTES + groups * ciphertext_size(view.terms.parameters)
            self._known[task_id] = (frozenset(view.participants) if not view.over or view.disputes else frozenset(), limit)
        return self._known[task_id]
