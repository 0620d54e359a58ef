"""Manifests of a network of real machines: the same programs and settings as the local network's, and nothing secret in them.

Neither Docker nor Kubernetes runs here. So the manifests are held against what they must agree with: the environment that the local
network (which tests/real_fabric runs) gives its processes, the files that the hospital makes, the certificates' names.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from gateway.chaincode.config import load_chaincode_config
from gateway.cli.main import run
from gateway.errors import ExitCode, InputError
from gateway.network import launches
from gateway.network.channel_profile import PROFILE, configtx
from gateway.network.compose import health_command
from gateway.network.containers import OWN_USER, peer_container, service_container
from gateway.network.create import create
from gateway.network.description import Description, MemberPorts, Network, OrdererPorts, Orderers, read_description
from gateway.network.home import FabricHome
from gateway.network.render import render
from gateway.network.up import up
from tests.support.hospital_ca import HospitalCa

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "deploy" / "fabric" / "sample"
DESCRIPTION = read_description(ROOT / "deploy" / "fabric" / "network.json")
TARGETS = ("compose", "kubernetes")
ORDERERS = DESCRIPTION.orderer_mspid
MEMBERS = [member.mspid for member in DESCRIPTION.members]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered")
    for target in TARGETS:
        render(DESCRIPTION, target, out)
    return out


@pytest.fixture(scope="module")
def hospital(written: Path) -> HospitalCa:
    """The first member, with all that it makes itself, as the page on joining says."""
    ca = HospitalCa(MEMBERS[0], written / MEMBERS[0])
    ca.issue("peer", "peer", DESCRIPTION.members[0].host)
    for name in ("chaincode", "chaincode-client"):
        ca.issue(name, "client")
    assert run(["chaincode", "package", "--mspid", MEMBERS[0], "--organisation", str(ca.folder)]) is ExitCode.OK
    return ca


def compose_services(folder: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    for path in sorted(folder.glob("*/*compose.yaml")):
        for name, service in yaml.safe_load(path.read_text())["services"].items():
            yield path, name, service


def documents(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.glob("*/*kubernetes.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield path, document


def pods(folder: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Every workload, and its one container."""
    for path, document in documents(folder):
        if document["kind"] in ("StatefulSet", "Deployment"):
            (container,) = document["spec"]["template"]["spec"]["containers"]
            yield path, document, container


def test_the_samples_are_what_the_verb_writes(written: Path, hospital: HospitalCa) -> None:
    committed = {path.relative_to(SAMPLE): path.read_text() for path in SAMPLE.rglob("*") if path.is_file()}
    for name, text in committed.items():
        assert (written / name).read_text() == text, f"deploy/fabric/sample/{name} is not current: run `make samples`"
    fresh = [path for target in TARGETS for path in render(DESCRIPTION, target, written)]
    assert {path.relative_to(written) for path in fresh} == set(committed)


def test_every_organisation_gets_its_programs(written: Path) -> None:
    expected = {(ORDERERS, f"orderer-{number}") for number in (1, 2, 3)} | {
        (mspid, name) for mspid in MEMBERS for name in ("peer", "chaincode")
    }
    assert {(path.parent.name, name) for path, name, _ in compose_services(written)} == expected
    assert {(path.parent.name, document["metadata"]["name"]) for path, document, _ in pods(written)} == expected


def local_environments(folder: Path) -> dict[str, set[str]]:
    """The variables that the local network gives its peers and orderers."""
    network = create(folder / "net", ["Org1MSP"], Orderers(consensus="raft", count=1))
    home = FabricHome(folder, (3, 1))
    peer = launches.peer(home, network, network.members[0])
    orderer = launches.orderer(home, network, network.orderers[0])
    return {"fabric-peer": set(peer.environment), "fabric-orderer": set(orderer.environment), "consortium-gateway": set()}


def test_containers_are_configured_by_the_variables_of_the_local_network_and_no_others(written: Path, tmp_path: Path) -> None:
    local = local_environments(tmp_path)
    kinds = set()
    for _, _, service in compose_services(written):
        kind = service["image"].rpartition("/")[2].partition(":")[0]
        assert set(service.get("environment", {})) == local[kind]
        kinds.add(kind)
    assert kinds == set(local)
    in_compose = {(path.parent.name, name): service.get("environment", {}) for path, name, service in compose_services(written)}
    for path, document, container in pods(written):
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert environment == in_compose[path.parent.name, document["metadata"]["name"]]


def test_only_paths_addresses_and_names_differ_from_the_local_network(tmp_path: Path) -> None:
    network = create(tmp_path / "net", ["Org1MSP"], Orderers(consensus="raft", count=1))
    local = launches.peer(FabricHome(tmp_path, (3, 1)), network, network.members[0]).environment
    shipped = peer_container(Network(Path(), DESCRIPTION).members[0], "3.1.5").environment
    differing = {name for name in local if local[name] != shipped[name]}
    kinds = ("_FILE", "PATH", "DIR", "ADDRESS", "ENDPOINT", "BOOTSTRAP", "_ID", "LOCALMSPID")
    assert {name for name in differing if not name.endswith(kinds)} == set()


def test_images_are_pinned_to_a_release(written: Path) -> None:
    images = [service["image"] for _, _, service in compose_services(written)]
    images += [container["image"] for _, _, container in pods(written)]
    assert set(images) == {"hyperledger/fabric-peer:3.1.5", "hyperledger/fabric-orderer:3.1.5", "consortium-gateway:0.1.0"}
    assert "consortium-gateway:0.1.0" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_every_mounted_file_is_written_by_the_verb_or_made_by_the_hospital(written: Path, hospital: HospitalCa) -> None:
    mounted = set()
    for path, _, service in compose_services(written):
        for mount in service["volumes"]:
            if mount["type"] == "bind" and path.parent == hospital.folder:
                assert (path.parent / mount["source"]).is_file(), mount
                assert mount["read_only"]
                assert mount["bind"] == {"create_host_path": False}
                mounted.add(mount["source"])
    assert {"./peer/key.pem", "./chaincode/tls-key.pem", "./chaincode.toml", "./node-ous.yaml"} <= mounted
    assert not [source for source in mounted if source.startswith(("./ca/", "./admin/"))]  # never the authority's key


def test_in_the_container_each_path_of_the_environment_is_a_mounted_one(written: Path) -> None:
    for _, name, service in compose_services(written):
        targets = [mount["target"] for mount in service["volumes"]]
        for value in service.get("environment", {}).values():
            for path in value.strip("[]").split(","):
                if path.startswith("/etc/consortium"):
                    assert any(target == path or target.startswith(f"{path}/") for target in targets), (name, path)


def test_volumes_that_hold_the_ledger_are_named(written: Path) -> None:
    for path, name, service in compose_services(written):
        named = [mount for mount in service["volumes"] if mount["type"] == "volume"]
        assert [mount["source"] for mount in named] == ([] if name == "chaincode" else [f"{name}-data"])
        assert {mount["source"] for mount in named} <= set(yaml.safe_load(path.read_text())["volumes"])
        for mount in named:
            data = {
                value for key, value in service["environment"].items() if key in ("CORE_PEER_FILESYSTEMPATH", "ORDERER_FILELEDGER_LOCATION")
            }
            assert data == {mount["target"]}
    for _, document, container in pods(written):
        claims = [claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])]
        volumes = [volume["name"] for volume in document["spec"]["template"]["spec"]["volumes"]]
        assert sorted(mount["name"] for mount in container["volumeMounts"]) == sorted([*claims, *volumes])


def test_the_service_finds_the_files_that_its_configuration_names(written: Path, hospital: HospitalCa, tmp_path: Path) -> None:
    container = service_container(Network(Path(), DESCRIPTION).members[0])
    for target, source in container.files.items():
        inside = tmp_path / target.removeprefix("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes((hospital.folder / source).read_bytes())
    config = load_chaincode_config(tmp_path / container.command[-1].removeprefix("/"))
    assert config.settings().tls is not None
    assert config.chaincode.listen == f"0.0.0.0:{container.port}"


def test_hosts_and_ports_agree_with_certificates_and_channel(written: Path, hospital: HospitalCa) -> None:
    certificate = x509.load_pem_x509_certificate((hospital.folder / "peer" / "tls-cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    channel = yaml.safe_load((written / "channel" / "configtx.yaml").read_text())["Profiles"][PROFILE]
    anchors = {each["ID"]: each["AnchorPeers"][0] for each in channel["Application"]["Organizations"]}
    for path, name, service in compose_services(written):
        if name != "peer":
            continue
        host, port = service["environment"]["CORE_PEER_ADDRESS"].split(":")
        assert anchors[path.parent.name] == {"Host": host, "Port": int(port)}
        assert service["ports"] == [f"{port}:{port}"]
        assert service["environment"]["CORE_PEER_LISTENADDRESS"] == f"0.0.0.0:{port}"
        if path.parent == hospital.folder:
            assert host in names
    (ordering,) = channel["Orderer"]["Organizations"]
    consenters = [f"{each['Host']}:{each['Port']}" for each in channel["Orderer"]["EtcdRaft"]["Consenters"]]
    assert ordering["OrdererEndpoints"] == consenters == [f"{each.host}:{each.listen}" for each in DESCRIPTION.orderers]
    connection_host = "chaincode"  # what `chaincode package` tells the peer by default: the service's name in both targets
    service_names = x509.load_pem_x509_certificate((hospital.folder / "chaincode" / "tls-cert.pem").read_bytes())
    dns = service_names.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert connection_host in dns
    assert connection_host in {name for _, name, _ in compose_services(written)}


def test_an_orderer_s_administration_is_not_published(written: Path) -> None:
    for _, name, service in compose_services(written):
        if name.startswith("orderer"):
            assert service["ports"] == ["7050:7050", "127.0.0.1:7053:7053"]
    ports = {document["metadata"]["name"]: document["spec"]["ports"] for _, document in documents(written) if document["kind"] == "Service"}
    assert [port["port"] for port in ports["orderer-1"]] == [7050]


def test_kubernetes_selects_mounts_and_probes_what_is_there(written: Path, hospital: HospitalCa) -> None:
    kept = {"authorities": "msp", "node-ous": "", "chaincode": ""}  # ConfigMaps by the folder whose files they hold
    for path, document, container in pods(written):
        template, name = document["spec"]["template"], document["metadata"]["name"]
        assert document["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert document["spec"]["replicas"] == 1
        ports = {port["containerPort"] for port in container["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            asked = container[probe].get("httpGet") or container[probe]["tcpSocket"]
            assert asked["port"] in ports
        if path.parent != hospital.folder:
            continue
        (volume,) = template["spec"]["volumes"]
        for source in volume["projected"]["sources"]:
            ((kind, held),) = source.items()
            folder = hospital.folder / (kept[held["name"]] if kind == "configMap" else held["name"])
            for item in held["items"]:
                assert (folder / item["key"]).is_file(), (name, held)
                assert kind == "secret" or "key" not in item["key"]
    services = [document for _, document in documents(written) if document["kind"] == "Service"]
    workloads = {(document["metadata"]["namespace"], document["metadata"]["name"]) for _, document, _ in pods(written)}
    assert {(each["metadata"]["namespace"], each["spec"]["selector"]["app"]) for each in services} == workloads
    for path, document in documents(written):
        namespace = document["metadata"].get("namespace", document["metadata"]["name"])
        assert namespace.startswith(path.parent.name.lower()), "one namespace an organisation"


def test_the_own_image_s_program_has_no_rights(written: Path) -> None:
    for _, name, service in compose_services(written):
        if name == "chaincode":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
            assert str(OWN_USER) in service["user"]
    assert f"USER {OWN_USER}" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_nothing_secret_is_written(written: Path) -> None:
    for path in SAMPLE.rglob("*"):
        if path.is_file():
            assert "-----BEGIN" not in path.read_text()
    assert not [document for _, document in documents(written) if document["kind"] == "Secret"]


def test_what_the_image_is_made_of_is_there() -> None:
    copied = [line.split()[1:-1] for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert f"!{name.split('/')[0]}" in ignored


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("tools", ["with wget", "without wget"])
@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_asks_the_operations_port(tmp_path: Path, tools: str, status: int) -> None:
    """The shell line of the Compose file itself, once with a wget that fails as one does, once with none."""
    handler = type("Health", (_Health,), {"status": status})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    container = peer_container(Network(Path(), DESCRIPTION).members[0], "3.1.5")
    command = health_command(container).replace("9443", str(server.server_port))
    for tool in ("bash", "head", "grep"):
        (tmp_path / tool).symlink_to(next(path for folder in ("/usr/bin", "/bin") if (path := Path(folder) / tool).exists()))
    if tools == "with wget":
        (tmp_path / "wget").write_text(f"#!/bin/sh\nexit {0 if status == 200 else 8}\n")
        (tmp_path / "wget").chmod(0o755)
    try:
        done = subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(tmp_path)}, capture_output=True, timeout=30)
    finally:
        server.shutdown()
        server.server_close()
    assert (done.returncode == 0) == (status == 200)


def described(**changes: Any) -> Description:
    return Description.model_validate({**DESCRIPTION.model_dump(), **changes})


def test_bft_orderers_are_rendered_with_their_identities(tmp_path: Path) -> None:
    orderers = tuple(OrdererPorts(host=f"o{number}.example", listen=7050, admin=7053) for number in range(4))
    description = described(consensus="bft", orderers=orderers)
    render(description, "compose", tmp_path)
    channel = yaml.safe_load((tmp_path / "channel" / "configtx.yaml").read_text())["Profiles"][PROFILE]
    assert [each["Host"] for each in channel["Orderer"]["ConsenterMapping"]] == [each.host for each in orderers]
    assert not any(Path(each["Identity"]).is_absolute() for each in channel["Orderer"]["ConsenterMapping"])
    with pytest.raises(InputError, match=r"BFT ordering came with 3\.0"):
        render(description, "compose", tmp_path, fabric_version="2.5.16")


@pytest.mark.parametrize("version", ["latest", "3.1", "3.0.1", "2.4.9", "3.1.5-rc1"])
def test_a_version_that_pins_nothing_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(InputError, match=r"write a release of 2\.5 or 3\.1 in full"):
        render(DESCRIPTION, "compose", tmp_path, fabric_version=version)
    assert not any(tmp_path.iterdir())


def test_hosts_have_names(tmp_path: Path) -> None:
    members = (MemberPorts(mspid="A", host="10.0.0.7", peer=7051, peer_chaincode=7052, service=9999),)
    with pytest.raises(InputError, match=r"10\.0\.0\.7 is an address"):
        render(described(members=members), "compose", tmp_path)


def test_real_machines_are_not_started_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is not this machine; use `consortium network render`"):
        up(Network(tmp_path, DESCRIPTION), FabricHome(tmp_path, (3, 1)), print)


def test_the_channel_is_the_local_network_s_but_for_hosts_and_paths(tmp_path: Path) -> None:
    local = create(tmp_path / "net", MEMBERS, Orderers(consensus="raft", count=3))
    render(DESCRIPTION, "compose", tmp_path / "out")
    shipped = yaml.safe_load((tmp_path / "out" / "channel" / "configtx.yaml").read_text())
    assert blurred(shipped) == blurred(json.loads(json.dumps(configtx(local))))


def blurred(content: Any) -> Any:
    """Without what an installation names: hosts, ports, paths."""
    if isinstance(content, dict):
        named = {"Host", "Port", "MSPDir", "ClientTLSCert", "ServerTLSCert", "Identity", "OrdererEndpoints"}
        return {key: "…" if key in named else blurred(value) for key, value in content.items()}
    return [blurred(each) for each in content] if isinstance(content, list) else content
