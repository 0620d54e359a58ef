"""A private key that stays on a PKCS#11 token: a smart card or a hardware security module.

Needs the package python-pkcs11 (`pip install consortium-gateway[pkcs11]`) and the vendor's PKCS#11 module.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from fabric.crypto import IdentityError, SigningIdentity, load_certificate, sha256, verify_signature

if TYPE_CHECKING:
    from pkcs11.types import SignMixin

_CHECKED = b"consortium: does this key belong to the certificate?"


class PinRefused(IdentityError):  # noqa: N818 (the name already says what happened)
    """The token does not take the PIN; trying it again would lock the token."""


@dataclass(frozen=True)
class TokenPlace:
    """Where a key is: the vendor's module, the token by its label, the key by its own, and the file that holds the user's PIN."""

    module: Path
    token: str
    key: str
    pin_file: Path


class TokenKey:
    """Signs on the token; `SigningIdentity.private_key` for a key that nobody can read. May be used from several threads.

    A session that the token has dropped (it was unplugged, the module restarted) is opened anew once for a signature.
    """

    def __init__(self, place: TokenPlace) -> None:
        """Log in and find the key. Raises IdentityError."""
        self._place = place
        self._lock = threading.Lock()
        self._key = _open(place)
        self._refused: PinRefused | None = None

    def sign(self, data: bytes, _algorithm: ec.ECDSA) -> bytes:
        """The DER signature over the SHA-256 of `data`. Raises IdentityError if the token does not sign."""
        digest = sha256(data)
        with self._lock:
            try:
                return self._sign(digest)
            except IdentityError:
                self._open_again()
                return self._sign(digest)

    def _open_again(self) -> None:
        if self._refused is not None:
            raise self._refused
        try:
            self._key = _open(self._place)
        except PinRefused as refusal:
            self._refused = refusal
            raise

    def _sign(self, digest: bytes) -> bytes:
        from pkcs11 import Mechanism

        with _in_a_sentence(self._place):
            signature = self._key.sign(digest, mechanism=Mechanism.ECDSA)
        # A token answers with r and s side by side.
        half = len(signature) // 2
        return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def load_token_identity(mspid: str, certificate: Path, place: TokenPlace) -> SigningIdentity:
    """An identity whose key stays on a token; raise IdentityError, naming what is wrong, if it cannot sign for the certificate."""
    try:
        pem = certificate.read_bytes()
    except OSError as error:
        raise IdentityError(f"cannot read {error.filename}: {error.strerror}") from error
    issued = load_certificate(pem)
    identity = SigningIdentity(mspid, pem, TokenKey(place))
    signature = identity.sign(_CHECKED)
    try:
        verify_signature(issued, _CHECKED, signature)
    except IdentityError as error:
        raise IdentityError(f"key {place.key!r} on token {place.token!r} is not the key of {certificate}") from error
    return identity


def _open(place: TokenPlace) -> "SignMixin":
    try:
        import pkcs11
    except ImportError as error:
        raise IdentityError("a key on a token needs the package python-pkcs11; install consortium-gateway[pkcs11]") from error
    pin = _pin(place)
    try:
        module = pkcs11.lib(str(place.module.resolve()))  # the package loads a module once for each way of writing its path
    except pkcs11.exceptions.PKCS11Error as error:
        raise IdentityError(f"{place.module} is not a PKCS#11 module that can be loaded: {error}") from error
    with _in_a_sentence(place):
        token = module.get_token(token_label=place.token)
        try:
            session = token.open(user_pin=pin)
        except pkcs11.exceptions.UserAlreadyLoggedIn:  # by another identity of this process: the login is the process's
            session = token.open()
        key = session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.KeyType.EC, label=place.key)
    if not isinstance(key, pkcs11.types.SignMixin):
        raise IdentityError(f"key {place.key!r} on token {place.token!r} is not allowed to sign")
    return key


def _pin(place: TokenPlace) -> str:
    try:
        pin = place.pin_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityError(f"cannot read {place.pin_file}, the token's PIN: {error}") from error
    if not pin:
        raise IdentityError(f"{place.pin_file} is empty; it holds the PIN of token {place.token!r}")
    return pin


@contextmanager
def _in_a_sentence(place: TokenPlace) -> Iterator[None]:
    """What the token says, as IdentityError."""
    from pkcs11 import exceptions

    try:
        yield
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange) as error:
        raise PinRefused(f"token {place.token!r} refuses the PIN of {place.pin_file}; correct the file before the token locks") from error
    except exceptions.PinLocked as error:
        raise PinRefused(f"token {place.token!r} is locked after too many wrong PINs; its security officer must unlock it") from error
    except exceptions.NoSuchToken as error:
        raise IdentityError(f"there is no token {place.token!r} at {place.module}; is it plugged in, and is this its label?") from error
    except exceptions.NoSuchKey as error:
        raise IdentityError(f"token {place.token!r} has no EC private key with the label {place.key!r}") from error
    except (exceptions.MultipleTokensReturned, exceptions.MultipleObjectsReturned) as error:
        raise IdentityError(f"token {place.token!r} or key {place.key!r} is there more than once; labels must be unique") from error
    except exceptions.PKCS11Error as error:
        raise IdentityError(f"token {place.token!r} does not sign with key {place.key!r}: {type(error).__name__}") from error
