"""Signing with a key that stays on a PKCS#11 token: SoftHSM in the place of a card or a security module."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from fabric import token_key
from fabric.client.gateway import Gateway
from fabric.crypto import P256_ORDER, IdentityError, SigningIdentity, load_certificate, verify_signature
from fabric.devpki import Organisation
from fabric.token_key import TokenPlace, load_token_identity
from gateway.config import load_client_config
from gateway.toml_file import render
from tests.support.ledger import RunningNetwork

PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
MODULE = next((Path(place) for place in PLACES if Path(place).exists()), None)
PIN = "1234"
TOKENS = ("hospital", "locking")  # SoftHSM sees tokens that another process makes only when it starts

needs_token = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None, reason="SoftHSM is not installed (Debian: apt-get install softhsm2)"
)


@dataclass(frozen=True)
class Tokens:
    """SoftHSM with a key `gateway` on token `hospital`, and the PIN in a file."""

    place: TokenPlace
    public_key: ec.EllipticCurvePublicKey
    session: Any


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    pkcs11 = pytest.importorskip("pkcs11", reason="the package python-pkcs11 is not installed")
    from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        for label in TOKENS:
            command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "5678"]
            subprocess.run(command, check=True, capture_output=True)
        module = pkcs11.lib(str(MODULE.resolve()))
        session = module.get_token(token_label="hospital").open(user_pin=PIN, rw=True)
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        public, _ = parameters.generate_keypair(store=True, label="gateway")
    (folder / "pin").write_text(PIN + "\n")
    key = serialization.load_der_public_key(encode_ec_public_key(public))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return Tokens(TokenPlace(MODULE, "hospital", "gateway", folder / "pin"), key, session)


@pytest.fixture
def certify(ledger: RunningNetwork, tmp_path: Path) -> Callable[[ec.EllipticCurvePublicKey], Path]:
    """Issues certificates of AlphaMSP for keys that its authority never sees."""
    alpha: Organisation = ledger.organisations["AlphaMSP"]

    def issue(key: ec.EllipticCurvePublicKey) -> Path:
        like = x509.load_pem_x509_certificate(alpha.files("gateway").certificate.read_bytes())
        builder = x509.CertificateBuilder().subject_name(like.subject).issuer_name(like.issuer).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(like.not_valid_before_utc).not_valid_after(like.not_valid_after_utc)
        for extension in like.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        authority = serialization.load_pem_private_key(alpha.ca_key.read_bytes(), None)
        path = tmp_path / "token-cert.pem"
        path.write_bytes(builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    return issue


@pytest.fixture
def configuration(tokens: Tokens, certify, ledger: RunningNetwork, tmp_path: Path) -> Path:
    """A researcher's file whose identity is on the token."""
    place, path = tokens.place, tmp_path / "researcher.toml"
    sections = {
        "ledger": {"endpoint": ledger.endpoint, "tls_ca": ledger.organisations["AlphaMSP"].tls_ca},
        "identity": {"mspid": "AlphaMSP", "certificate": certify(tokens.public_key)},
        "identity.token": {"module": place.module, "label": place.token, "key": place.key, "pin_file": place.pin_file},
    }
    path.write_text(render(sections, folder=tmp_path))
    return path


@needs_token
async def test_transactions_are_signed_on_the_token(configuration: Path, ledger: RunningNetwork) -> None:
    config = load_client_config(configuration)
    client = Gateway.follow([ledger.endpoint], lambda: ledger.tls_ca, ledger.channel, ledger.chaincode, config.identity.watch())
    assert (await client.submit("increment", b"counter")).result == b"1"
    assert await client.evaluate("get", b"counter") == b"1"
    assert await client.height() > 0
    await client.close()


@needs_token
def test_every_signature_has_a_low_s(configuration: Path) -> None:
    """A token knows nothing of Fabric's rule: about half of its signatures break it."""
    identity = load_client_config(configuration).identity.load()
    certificate = load_certificate(identity.certificate_pem)
    for number in range(32):
        message = number.to_bytes(4, "big")
        verify_signature(certificate, message, identity.sign(message))


def test_a_high_s_is_turned_over() -> None:
    """Without any token: the same r with the other S is as valid a signature, and the only one that Fabric takes."""
    key = ec.generate_private_key(ec.SECP256R1())

    class Contrary:
        def sign(self, data: bytes, algorithm: ec.ECDSA, /) -> bytes:
            r, s = decode_dss_signature(key.sign(data, algorithm))
            return encode_dss_signature(r, max(s, P256_ORDER - s))

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "n")])
    like = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = like.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    for number in range(8):
        verify_signature(certificate, bytes([number]), SigningIdentity("M", pem, Contrary()).sign(bytes([number])))


@needs_token
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"module": Path("/nowhere/module.so")}, "/nowhere/module.so is not a PKCS#11 module"),
        ({"token": "nobody's"}, 'there is no token "nobody\'s"'),
        ({"key": "another"}, "has no EC private key with the label 'another'"),
    ],
)
def test_each_thing_that_is_missing_is_one_sentence(tokens: Tokens, certify, change, words) -> None:
    with pytest.raises(IdentityError) as wrong:
        load_token_identity("AlphaMSP", certify(tokens.public_key), replace(tokens.place, **change))
    assert words in str(wrong.value)
    assert "\n" not in str(wrong.value)


@needs_token
@pytest.mark.parametrize(
    ("pin", "words"), [("9999", "refuses the PIN of"), ("", "is empty"), (None, "cannot read"), (b"\xff", "cannot read")]
)
def test_a_wrong_pin_is_one_sentence_that_does_not_hold_it(tokens: Tokens, certify, tmp_path: Path, pin, words) -> None:
    file = tmp_path / "pin"
    if pin is not None:
        file.write_bytes(pin if isinstance(pin, bytes) else pin.encode())
    with pytest.raises(IdentityError, match=words) as wrong:
        load_token_identity("AlphaMSP", certify(tokens.public_key), replace(tokens.place, token="locking", pin_file=file))
    assert str(file) in str(wrong.value)
    assert "9999" not in str(wrong.value)


@needs_token
def test_another_certificate_than_the_keys_is_refused(tokens: Tokens, certify) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(IdentityError, match="'gateway' on token 'hospital' is not the key of"):
        load_token_identity("AlphaMSP", certify(stranger), tokens.place)


@needs_token
def test_a_session_that_the_token_dropped_is_opened_again(tokens: Tokens, configuration: Path) -> None:
    identity = load_client_config(configuration).identity.load()
    identity.private_key._key.session.close()
    verify_signature(load_certificate(identity.certificate_pem), b"after", identity.sign(b"after"))


def test_a_pin_that_is_refused_is_not_tried_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens lock after a few wrong PINs, and a gateway signs all the time."""
    opened: list[int] = []

    def refuse(_place: TokenPlace) -> Any:
        opened.append(1)
        if len(opened) == 1:
            return SimpleNamespace(sign=None)
        raise token_key.PinRefused("refused")

    def unplugged(_self: Any, _digest: bytes) -> bytes:
        raise IdentityError("the session is gone")

    monkeypatch.setattr(token_key, "_open", refuse)
    monkeypatch.setattr(token_key.TokenKey, "_sign", unplugged)
    key = token_key.TokenKey(TokenPlace(Path("m"), "t", "k", Path("p")))
    for _ in range(5):
        with pytest.raises(token_key.PinRefused):
            key.sign(b"x", ec.ECDSA(hashes.SHA256()))
    assert len(opened) == 2


def test_without_the_package_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: RunningNetwork
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    certificate = ledger.organisations["AlphaMSP"].files("gateway").certificate
    with pytest.raises(IdentityError, match=r"install consortium-gateway\[pkcs11\]"):
        load_token_identity("AlphaMSP", certificate, TokenPlace(Path("m"), "t", "k", tmp_path / "pin"))
