"""How often one call is tried, and at which peers."""

from fabric.client.connection import Connection, Peer
from fabric.client.patience import Backoff


class Attempts:
    """Each peer is tried once whatever the time; then all again, with pauses between, for `limit_s`."""

    def __init__(self, connection: Connection, limit_s: float = float("inf")) -> None:
        self._connection = connection
        self._backoff = Backoff(connection.patience, limit_s)
        self._peers = len(connection.peers_in_turn())
        self._untried = self._peers

    def reset(self) -> None:
        """An attempt succeeded; the next failure is the first of its own series."""
        self._backoff.reset()
        self._untried = self._peers

    async def elsewhere(self, peer: Peer, why: str) -> bool:
        """`peer` failed: go on at the next one, after a pause once all were tried; False, at once, when there is no time left."""
        self._connection.leave(peer, why)
        self._untried -= 1
        if self._untried > 0:
            return True
        return await self.again()

    async def again(self) -> bool:
        """Try at the same peer after a pause; False, at once, when there is no time left."""
        self._untried = self._peers
        return await self._backoff.pause()
