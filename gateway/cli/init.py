"""`consortium init`: certificates and configuration files for a trial."""

from pathlib import Path

import click

from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result


@click.command()
@click.option("--demo", "folder", type=PathType(), required=True, metavar="DIR", help="Folder to make; a previous demo in it is replaced.")
@click.option("--hospitals", type=PathType(), metavar="DIR", help="One folder of FHIR files for each hospital; default: sample patients.")
@click.option(
    "--misbehave",
    multiple=True,
    metavar="N=KIND",
    help="Let hospital N cheat: label-flip, noise, replay, scale, offline, false-key-share or false-decryption.",
)
@click.option("--ledger", type=click.Choice(["embedded", "fabric"]), default="embedded", show_default=True, help="Which ledger it is for.")
@format_option
def init(folder: Path, hospitals: Path | None, misbehave: tuple[str, ...], ledger: str) -> Result:
    """Make the organisations' certificates, ledger.toml and one configuration for each hospital, researcher and auditor."""
    from gateway.demo.folder import clear, held, refuse_inside
    from gateway.demo.hospitals import find_hospitals, parse_misbehaviour
    from gateway.demo.network import create_network, refuse_running_fabric
    from gateway.fhir.samples import write_breast_cancer
    from gateway.network.description import DESCRIPTION

    misbehaving = parse_misbehaviour(misbehave)
    if hospitals:
        # Before anything of an earlier demo is removed.
        refuse_inside(hospitals, folder)
        find_hospitals(hospitals, misbehaving)
    with held(folder) as root:
        refuse_running_fabric(root)
        clear(root)
        if not hospitals:
            write_breast_cancer(root / "data")
        network = create_network(root, find_hospitals(hospitals or root / "data", misbehaving), on_fabric=ledger == "fabric")
    ledger_config = network.fabric / DESCRIPTION if ledger == "fabric" else network.ledger_config
    configs = [ledger_config, network.researcher, network.auditor, *(network.gateway(mspid) for mspid in network.hospitals)]
    return Result(
        {"folder": str(network.folder), "hospitals": list(network.hospitals), "configs": [str(path) for path in configs]},
        [f"certificates and configurations of {len(network.hospitals)} hospitals are in {network.folder}"],
    )
