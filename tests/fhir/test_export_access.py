"""Who is asked, how, and what is shown to whom: TLS, tokens, addresses."""

import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from fabric.devpki import create_organisation
from gateway.errors import ConfigError
from gateway.fhir.errors import FhirServerError
from gateway.fhir.export.settings import DataSection, load_data_section
from gateway.fhir.export.smart import Signer, Token, load_key, parse_token
from gateway.fhir.sources import files
from tests.support.exports import FakeTime, exported, fill
from tests.support.fhir_server import Fault, FhirServer, fhir_server, verified

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
KEYS: dict[str, Callable[[], Key]] = {
    "RS384": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


def pem(key: Key, path: Path) -> Path:
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return path


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[FhirServer, dict[str, str]]]:
    """A server that gives nothing without a token, and the [data.smart] that gets one."""
    key = KEYS["ES384"]()
    with fhir_server() as server:
        server.public_key = key.public_key()
        fill(server)
        yield server, {"client_id": "gateway", "private_key": str(pem(key, tmp_path / "key.pem")), "key_id": "k1"}


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_signed_assertion_opens(tmp_path: Path, algorithm: str) -> None:
    key, time = KEYS[algorithm](), FakeTime()
    smart = {"client_id": "gateway", "private_key": str(pem(key, tmp_path / "key.pem")), "key_id": "k1", "scope": "system/*.rs"}
    with fhir_server() as server:
        server.public_key = key.public_key()
        fill(server)
        exported(server, tmp_path / "out", time=time, smart=smart)
        ((header, claims),) = server.assertions
    assert header == {"alg": algorithm, "kid": "k1", "typ": "JWT"}
    assert claims.pop("jti")
    expires = claims.pop("exp")
    assert 0 < expires - time.moment.timestamp() <= 300
    assert claims == {"iss": "gateway", "sub": "gateway", "aud": f"{server.base}/token"}
    assert server.routes()[:2] == ["configuration", "token"]


def test_a_signature_of_another_key_or_text_does_not(tmp_path: Path) -> None:
    key, other = KEYS["ES384"](), KEYS["ES384"]()
    assertion = Signer("c", "k", key).assertion("https://h/token", FakeTime().moment)
    assert verified(assertion, key.public_key())[1]["aud"] == "https://h/token"
    header, claims, signature = assertion.split(".")
    for wrong, public in ((assertion, other.public_key()), (f"{header}.{claims[:-4]}AAAA.{signature}", key.public_key())):
        with pytest.raises(InvalidSignature):
            verified(wrong, public)


def test_a_token_is_renewed_when_it_expires_or_is_refused(guarded: tuple[FhirServer, dict[str, str]], tmp_path: Path) -> None:
    server, smart = guarded
    time = FakeTime()
    server.polls = 60  # 7 s each: more than the 300 s that a token is good for
    exported(server, tmp_path / "out", time=time, smart=smart)
    assert server.routes().count("token") == 2
    assert 401 not in server.answered
    server.faults["kickoff"].append(Fault(status=401))
    exported(server, tmp_path / "out", time=time, smart=smart, full=True)
    assert len({claims["jti"] for _, claims in server.assertions}) == server.routes().count("token") >= 3
    assert len(files(tmp_path / "out")) == 3


def test_a_token_is_shown_to_the_server_and_nobody_else(guarded: tuple[FhirServer, dict[str, str]], tmp_path: Path) -> None:
    server, smart = guarded
    with fhir_server() as elsewhere:
        fill(elsewhere)
        name = elsewhere.begin("", {})
        manifest = elsewhere.manifest(name)
        server.faults["status"].append(Fault(status=200, body=manifest))
        exported(server, tmp_path / "out", smart=smart)
        assert elsewhere.routes() == ["file"] * 4
        assert not any("Authorization" in request.headers for request in elsewhere.requests)
        # The same, but the manifest asks for the token there.
        server.faults["status"].append(Fault(status=200, body=manifest | {"requiresAccessToken": True}))
        with pytest.raises(FhirServerError, match="another server"):
            exported(server, tmp_path / "other", smart=smart)
        # And by way of a redirect.
        away = {"Location": f"{elsewhere.base}/files/{name}/output/0"}
        server.faults["file"].append(Fault(status=307, headers=away))
        exported(server, tmp_path / "redirected", smart=smart)
        assert not any("Authorization" in request.headers for request in elsewhere.requests)


def test_secrets_stand_in_no_error_and_no_folder(
    guarded: tuple[FhirServer, dict[str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, smart = guarded
    said: list[str] = []
    with caplog.at_level("DEBUG"):
        server.faults["file"].append(Fault(status=403))
        with pytest.raises(FhirServerError) as error:
            exported(server, tmp_path / "out", smart=smart, tell=said.append)
        exported(server, tmp_path / "out", smart=smart, tell=said.append)
    told = " ".join([str(error.value), *said, caplog.text, *(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())])
    assert server.tokens
    for secret in (*server.tokens, "client_assertion"):
        assert secret not in told
    assert "secret" not in repr(Token("secret", FakeTime().moment))


def test_a_client_that_the_server_does_not_know(guarded: tuple[FhirServer, dict[str, str]], tmp_path: Path) -> None:
    server, smart = guarded
    server.faults["token"].append(Fault(status=400, body={"error": "invalid_client"}))
    with pytest.raises(FhirServerError, match=r"the token endpoint answers 400 \(invalid_client\); check \[data.smart\]"):
        exported(server, tmp_path / "out", smart=smart)
    with pytest.raises(FhirServerError, match="the server answers 401: told to fail"):
        exported(server, tmp_path / "out")


@pytest.mark.parametrize("answer", [None, [], {}, {"access_token": ""}, {"access_token": "a\nb"}, {"access_token": "a", "expires_in": -1}])
def test_an_answer_without_a_token(answer: object) -> None:
    with pytest.raises(FhirServerError, match="access_token"):
        parse_token(answer, FakeTime().moment)
    good = parse_token({"access_token": "a", "expires_in": 60}, FakeTime().moment)
    assert good.good(FakeTime().moment + timedelta(seconds=29))
    assert not good.good(FakeTime().moment + timedelta(seconds=30))


def test_keys_that_cannot_sign(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("?")
    small = pem(ec.generate_private_key(ec.SECP256R1()), tmp_path / "p256")
    for path, sentence in (
        (tmp_path / "none", "cannot read"),
        (tmp_path / "text", "no.* PEM|not an unencrypted"),
        (small, "no key for RS384"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            load_key(path)


def test_tls_is_checked(tmp_path: Path) -> None:
    organisation = create_organisation(tmp_path / "pki", "HospitalMSP", identities={"server": "peer"})
    stranger = create_organisation(tmp_path / "stranger", "StrangerMSP", identities={"server": "peer"})
    server_files = organisation.files("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_files.tls_certificate, server_files.tls_private_key)
    with fhir_server(context) as server:
        fill(server)
        for ca in (None, stranger.tls_ca):
            with pytest.raises(FhirServerError, match=r"no TLS connection: .*; check \[data\] server and ca"):
                exported(server, tmp_path / "out", ca=ca)
        assert server.requests == []
        assert exported(server, tmp_path / "out", ca=organisation.tls_ca).kept == 9
    with pytest.raises(ConfigError, match="as PEM certificates"):
        exported(server, tmp_path / "out", ca=tmp_path / "none.pem")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"server": "http://fhir.example/r4"}, "not https"),
        ({"server": "https://user:secret@fhir.example"}, "nothing of a user"),
        ({"server": "ftp://fhir.example"}, "not a server's address"),
        ({"server": "https://h", "level": "group"}, "belong together"),
        ({"server": "https://h", "group": "g"}, "belong together"),
        ({"server": "https://h", "method": "search"}, "needs types"),
        ({"server": "https://h", "method": "search", "types": ["Patient"], "level": "patient"}, "has no level"),
        ({"server": "https://h", "types": ["Patient"], "type_filters": ["Observation?a=b"]}, "type_filters name Observation"),
        ({"server": "https://h", "types": ["../x"]}, "pattern"),
    ],
)
def test_settings_that_cannot_be_meant(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        DataSection.model_validate(wrong)


def test_a_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "export.toml"
    path.write_text('[data]\nserver = "https://h/fhir/"\nca = "ca.pem"\n')
    found = load_data_section(path)
    assert (found.server, found.ca) == ("https://h/fhir", tmp_path / "ca.pem")
    path.write_text("")
    with pytest.raises(ConfigError, match=r"no section \[data\]"):
        load_data_section(path)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with fhir_server() as server:
        pass
    with pytest.raises(FhirServerError, match="no answer"):
        exported(server, tmp_path)
