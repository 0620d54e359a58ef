"""Endorsements that this process has just signed itself: when they come back in a transaction, checking them would show nothing new."""

from collections import OrderedDict

from fabric.crypto import sha256

_KEPT = 20_000  # a transaction comes back within seconds, or is checked like a stranger's


class OwnEndorsements:
    """The newest signatures of this process's own peers, each with the digest of what it covers."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._made: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()

    def remember(self, message: bytes, signature: bytes) -> None:
        """Take note of a signature that a key of this process has just made of `message`, which ends with the signer's identity."""
        self._made[sha256(message), signature] = None
        if len(self._made) > self._kept:
            self._made.popitem(last=False)

    def made(self, message: bytes, signature: bytes) -> bool:
        """Whether this very signature of this very message is one of them."""
        return (sha256(message), signature) in self._made
