"""The embedded ledger's configuration file: what it holds, and one sentence for each way to get it wrong."""

from pathlib import Path

import pytest

from fabric.devledger.config import LedgerConfig, load, write
from fabric.devledger.errors import DevLedgerError

FILE = """
[ledger]
listen = "localhost:7051"
data = "ledger"
tls_certificate = "AlphaMSP/peer/tls-cert.pem"
tls_private_key = "AlphaMSP/peer/tls-key.pem"

[orderer]
mspid = "OrdererMSP"
certificate = "OrdererMSP/orderer/cert.pem"
private_key = "OrdererMSP/orderer/key.pem"
ca = "OrdererMSP/msp/ca.pem"

[[organisations]]
mspid = "AlphaMSP"
ca = "AlphaMSP/msp/ca.pem"
tls_ca = "AlphaMSP/msp/tlsca.pem"
peer_certificate = "AlphaMSP/peer/cert.pem"
peer_private_key = "AlphaMSP/peer/key.pem"
"""


def loaded(folder: Path, text: str) -> LedgerConfig:
    (folder / "ledger.toml").write_text(text)
    return load(folder / "ledger.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, FILE)
    assert config.ledger.data == tmp_path / "ledger"
    assert config.organisations[0].ca == tmp_path / "AlphaMSP/msp/ca.pem"
    assert (config.ledger.channel, config.ledger.chaincode) == ("consortium", "consortium")


def test_a_written_file_reads_back_the_same(tmp_path: Path) -> None:
    config = loaded(tmp_path, FILE)
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "again.toml", tmp_path / "elsewhere" / "again.toml"):
        write(config, path)
        assert load(path) == config
        assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"localhost:7051"', '"localhost:0"', "ledger.listen: .*port from 1 to 65535"),
        ('"localhost:7051"', '"localhost"', "ledger.listen: .*HOST:PORT"),
        ('"localhost:7051"', '"localhost:70510"', "ledger.listen"),
        ("[orderer]", 'colour = "red"\n[orderer]', "ledger.colour: unknown key"),
        ('mspid = "AlphaMSP"', 'mspid = "OrdererMSP"', "'OrdererMSP' stands twice"),
        ('mspid = "AlphaMSP"', 'mspid = "../Alpha"', "organisations.0.mspid"),
        ('data = "ledger"\n', "", "ledger.data: Field required"),
        ("[ledger]", "[ledger", "is not TOML"),
        ('data = "ledger"', 'data = "ledger"\nchannel = "Bad Name"', "ledger.channel"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DevLedgerError, match=message) as caught:
        loaded(tmp_path, FILE.replace(old, new, 1))
    assert "ledger.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DevLedgerError, match=r"cannot read .*absent\.toml"):
        load(tmp_path / "absent.toml")


def test_the_sample_is_valid() -> None:
    config = load(Path(__file__).resolve().parents[2] / "deploy" / "samples" / "ledger.toml")
    assert [organisation.mspid for organisation in config.organisations] == ["HospitalAMSP", "HospitalBMSP"]
