"""Configuration files: every mistake is one sentence that names the file, the key and what to do."""

from pathlib import Path

import pytest

from gateway.config import GatewayConfig, load_client_config, load_gateway_config
from gateway.errors import ConfigError
from gateway.toml_file import read, render

CLIENT = {
    "ledger": {"endpoint": "127.0.0.1:7051", "tls_ca": Path("pki/ca.pem")},
    "identity": {"mspid": "research", "certificate": Path("pki/cert.pem"), "private_key": Path("pki/key.pem")},
}
WITHOUT_KEY = {"mspid": "research", "certificate": Path("pki/cert.pem")}
TOKEN = {"module": "/usr/lib/softhsm/libsofthsm2.so", "label": "hospital-a", "key": "gateway", "pin_file": "pin"}
GATEWAY = {
    "": {"trial": True},
    **CLIENT,
    "gateway": {
        "listen": "[::]:7100",
        "advertise": "gateway.example.org:7100",
        "tls_certificate": Path("tls.pem"),
        "tls_private_key": Path("tls-key.pem"),
        "data": Path("data"),
        "state": Path("state"),
    },
    "policy": {"max_epsilon": 5.0},
    "budget": {"dataset": "records", "epsilon": 8.3, "delta": 1e-3},
}


def write(folder: Path, sections: dict[str, dict[str, object]]) -> Path:
    path = folder / "config.toml"
    path.write_text(render(sections, folder=Path()), encoding="utf-8")
    return path


def changed(section: str, **values: object) -> dict[str, dict[str, object]]:
    return {**GATEWAY, section: {**GATEWAY.get(section, {}), **values}}


def test_paths_are_relative_to_the_file_and_defaults_are_the_field_s(tmp_path: Path) -> None:
    config = load_client_config(write(tmp_path, CLIENT))
    assert config.ledger.tls_ca == tmp_path / "pki/ca.pem"
    assert (config.ledger.channel, config.ledger.chaincode) == ("consortium", "consortium")
    assert config.tls is None


def test_absolute_paths_stay(tmp_path: Path) -> None:
    config = load_client_config(write(tmp_path, {**CLIENT, "ledger": {"endpoint": "h:1", "tls_ca": "/etc/ca.pem"}}))
    assert config.ledger.tls_ca == Path("/etc/ca.pem")


def test_a_gateway_s_file_is_recognised_and_serves_and_calls_with_one_certificate(tmp_path: Path) -> None:
    config = load_client_config(write(tmp_path, GATEWAY))
    assert isinstance(config, GatewayConfig)
    assert config.tls.certificate == config.gateway.tls_certificate == tmp_path / "tls.pem"
    assert config.policy.approve == "manual", "whatever is not said must not be automatic"


@pytest.mark.parametrize("sections", [CLIENT, GATEWAY])
def test_a_key_may_stay_on_a_token(tmp_path: Path, sections: dict[str, dict[str, object]]) -> None:
    path = write(tmp_path, {**sections, "identity": WITHOUT_KEY, "identity.token": TOKEN})
    token = load_client_config(path).identity.token
    assert token is not None
    assert (token.module, token.label, token.key, token.pin_file) == (Path(TOKEN["module"]), "hospital-a", "gateway", tmp_path / "pin")


def test_the_documented_token_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    (example,) = (block for block in page.split("```")[1::2] if "[identity.token]" in block)
    path = write(tmp_path, {**CLIENT, "identity": WITHOUT_KEY})
    path.write_text(path.read_text(encoding="utf-8") + example, encoding="utf-8")
    token = load_client_config(path).identity.token
    assert token is not None
    assert token.pin_file == tmp_path / "secrets/pin"


def test_further_peers_are_kept_in_their_order(tmp_path: Path) -> None:
    fallbacks = ("b.example:7051", "c.example:7051")
    assert load_client_config(write(tmp_path, changed("ledger", fallbacks=list(fallbacks)))).ledger.fallbacks == fallbacks


def test_budgets_are_rounded_against_the_spender(tmp_path: Path) -> None:
    budget = load_gateway_config(write(tmp_path, changed("budget", epsilon=0.1234567, delta=0.003))).budget
    assert budget.epsilon_micro == 123_456
    assert budget.delta_inverse == 334


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (changed("gateway", listne="x:1"), ["unknown key gateway.listne", "remove it"]),
        ({**GATEWAY, "surprise": {"key": 1}}, ["unknown key surprise"]),
        ({**CLIENT, "policy": {"max_epsilon": 1.0}}, ["unknown key policy"]),
        (changed("gateway", listen="127.0.0.1:0"), ["gateway.listen", "1 to 65535"]),
        (changed("gateway", listen="127.0.0.1"), ["gateway.listen", "host:port"]),
        (changed("gateway", advertise="nowhere"), ["gateway.advertise", "host:port"]),
        (changed("policy", max_epsilon=-1.0), ["policy.max_epsilon = -1.0", "greater than 0"]),
        (changed("policy", approve="perhaps"), ["policy.approve", "'automatic' or 'manual'"]),
        (changed("budget", delta=1.5), ["budget.delta", "less than 1"]),
        (changed("budget", dataset="My Data"), ["budget.dataset"]),
        (changed("identity", mspid="a/b"), ["identity.mspid"]),
        ({name: values for name, values in GATEWAY.items() if name != "budget"}, ["budget is missing", "add it"]),
        (changed("ledger", fallbacks=["peer.example"]), ["ledger.fallbacks", "host:port"]),
        ({**GATEWAY, "identity": WITHOUT_KEY}, ["identity", "write either private_key or [identity.token]"]),
        ({**GATEWAY, "identity.token": TOKEN}, ["identity", "write either private_key or [identity.token]"]),
        ({**GATEWAY, "identity": WITHOUT_KEY, "identity.token": {**TOKEN, "pin": "1234"}}, ["unknown key identity.token.pin"]),
    ],
)
def test_a_mistake_is_one_sentence_with_file_key_and_remedy(
    tmp_path: Path, sections: dict[str, dict[str, object]], words: list[str]
) -> None:
    path = write(tmp_path, sections)
    with pytest.raises(ConfigError) as caught:
        load_client_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_cheating_needs_a_trial(tmp_path: Path) -> None:
    cheating = changed("misbehave", kind="noise")
    config = load_gateway_config(write(tmp_path, cheating))
    assert config.misbehave is not None
    assert config.misbehave.kind == "noise"
    with pytest.raises(ConfigError, match="for trials"):
        load_gateway_config(write(tmp_path, {**cheating, "": {"trial": False}}))
    with pytest.raises(ConfigError, match=r"misbehave\.kind"):
        load_gateway_config(write(tmp_path, changed("misbehave", kind="mischief")))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[ledger\n", "is not TOML"), (b"key = 1\nkey = 2\n", "is not TOML"), (b"\xff\xfe", "is not UTF-8")],
)
def test_a_file_that_is_not_toml(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml: No such file"):
        load_client_config(tmp_path / "nowhere.toml")


def test_render_writes_what_read_reads(tmp_path: Path) -> None:
    sections = {"": {"flag": True}, "a": {"text": 'quote " and \\ and ü', "number": 1.5, "list": ["x", "y"]}, "b": {"path": tmp_path / "f"}}
    path = tmp_path / "file.toml"
    path.write_text(render(sections, folder=tmp_path), encoding="utf-8")
    assert read(path) == {"flag": True, "a": sections["a"], "b": {"path": "f"}}
