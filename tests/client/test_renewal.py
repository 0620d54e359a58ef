"""Certificates and keys that are replaced while a client runs."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path

import pytest

from fabric.client.errors import LedgerUnavailable
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from fabric.crypto import IdentityError, SigningIdentity
from fabric.devpki import Organisation, issue_identity
from fabric.watched import Watched
from gateway.config import ClientConfig, IdentitySection, LedgerSection
from gateway.connect import open_ledger
from tests.support.ledger import RunningNetwork


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        file.write_text("1")
    return files


def matching(files: list[Path]) -> list[str]:
    """What the files hold; they must agree, as the two halves of a pair must."""
    texts = [file.read_text() for file in files]
    if len(set(texts)) > 1:
        raise ValueError("they do not match")
    return texts


def test_what_does_not_change_is_read_once(files) -> None:
    reads: list[int] = []
    watched = Watched(files, lambda: reads.append(1))
    for _ in range(5):
        watched()
    assert reads == [1]


def test_a_change_is_in_use_from_the_next_look_on(files) -> None:
    watched = Watched(files, lambda: matching(files))
    assert watched() == ["1", "1"]
    for file in files:
        file.write_text("12")
    assert watched() == ["12", "12"]


def test_half_a_pair_keeps_what_was_before_and_is_said_once(files, caplog) -> None:
    watched = Watched(files, lambda: matching(files))
    files[0].write_text("12")
    assert [watched() for _ in range(3)] == [["1", "1"]] * 3
    assert caplog.text.count("they do not match; what was read before stays in use") == 1
    files[1].write_text("12")
    assert watched() == ["12", "12"]


def test_a_file_that_is_missing_for_a_moment_is_no_end(files, caplog) -> None:
    watched = Watched(files, lambda: matching(files))
    files[0].unlink()
    assert watched() == ["1", "1"]
    assert "No such file" in caplog.text
    files[0].write_text("1")
    assert watched() == ["1", "1"]


def test_a_file_put_in_the_place_of_another_is_a_change_even_with_its_size_and_time(files) -> None:
    watched = Watched(files, lambda: files[0].read_text())
    status, new = files[0].stat(), files[0].with_name("new")
    new.write_text("2")
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(files[0])
    assert watched() == "2"


def test_what_is_wrong_at_the_start_is_raised(files) -> None:
    files[0].write_text("12")
    with pytest.raises(ValueError, match="do not match"):
        Watched(files, lambda: matching(files))


@pytest.fixture
def configured(ledger: RunningNetwork, tmp_path: Path) -> ClientConfig:
    """A client's configuration with files of its own."""
    organisation = ledger.organisations["AlphaMSP"]
    certificate, key, tls_ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "tls-ca.pem"
    shutil.copy(organisation.files("gateway").certificate, certificate)
    shutil.copy(organisation.files("gateway").private_key, key)
    shutil.copy(organisation.tls_ca, tls_ca)
    return ClientConfig(
        ledger=LedgerSection(endpoint=ledger.endpoint, tls_ca=tls_ca),
        identity=IdentitySection(mspid="AlphaMSP", certificate=certificate, private_key=key),
    )


@pytest.fixture
async def client(configured: ClientConfig) -> AsyncIterator[Gateway]:
    client = open_ledger(configured)
    yield client
    await client.close()


async def _caller(client: Gateway) -> str:
    certificate: str = json.loads(await client.evaluate("caller"))["certificate"]
    return certificate


async def test_a_renewed_certificate_signs_without_a_restart(client, configured, ledger, caplog) -> None:
    organisation: Organisation = ledger.organisations["AlphaMSP"]
    renewed = issue_identity(organisation, "renewed", "client")
    before = await _caller(client)
    shutil.copy(renewed.certificate, configured.identity.certificate)
    assert await _caller(client) == before, "the new certificate without its key is not used"
    assert "is not the key of" in caplog.text
    shutil.copy(renewed.private_key, configured.identity.private_key)
    assert await _caller(client) == renewed.certificate.read_text() != before
    await client.submit("put", b"k", b"v")


async def test_a_renewal_between_proposal_and_signature_does_not_part_them(ledger) -> None:
    """What one certificate proposed must not be signed with another's key: peers would refuse the transaction."""
    organisation: Organisation = ledger.organisations["AlphaMSP"]
    issue_identity(organisation, "renewed", "client")
    identities: cycle[SigningIdentity] = cycle([ledger.identity("AlphaMSP"), organisation.identity("renewed")])
    client = Gateway.follow([ledger.endpoint], lambda: ledger.tls_ca, ledger.channel, ledger.chaincode, lambda: next(identities))
    for count in range(1, 4):
        assert (await client.submit("increment", b"counter")).result == str(count).encode()
    committed = await client.submit("announce", b"x")
    events = client.chaincode_events(start_block=0)
    assert (await anext(events)).tx_id == committed.tx_id
    await events.aclose()
    await client.close()


async def test_a_new_authority_of_the_peers_is_trusted_without_a_restart(client, configured, ledger, tmp_path) -> None:
    client._connection.patience = Patience(pause_s=0.001, unavailable_s=0.01)
    right = configured.ledger.tls_ca.read_bytes()
    configured.ledger.tls_ca.write_bytes(ledger.organisations["BetaMSP"].tls_ca.read_bytes())
    with pytest.raises(LedgerUnavailable):
        await client.evaluate("caller")
    configured.ledger.tls_ca.write_bytes(right + ledger.organisations["BetaMSP"].tls_ca.read_bytes())
    assert await _caller(client)


async def test_an_authority_that_is_no_certificate_is_not_put_to_use(client, configured, caplog) -> None:
    configured.ledger.tls_ca.write_bytes(b"half a certif")
    assert await _caller(client)
    assert "holds no certificates in PEM" in caplog.text


def test_files_that_do_not_match_at_the_start_are_an_error(configured, ledger) -> None:
    shutil.copy(ledger.organisations["BetaMSP"].files("gateway").private_key, configured.identity.private_key)
    with pytest.raises(IdentityError, match="is not the key of"):
        open_ledger(configured)
