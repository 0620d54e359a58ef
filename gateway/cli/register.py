"""`consortium register`: what an organisation's administrator puts on the ledger, once."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from fabric.client.errors import ContractRefused
from fabric.contract.accounts import TOKEN
from fabric.crypto import fingerprint, load_certificate
from fabric.ledger import Ledger, Receipt
from gateway.cli.connected import with_ledger
from gateway.cli.options import PathType, config_option, format_option
from gateway.cli.output import Result
from gateway.config import GatewayConfig, load_client_config, load_gateway_config
from gateway.errors import ConfigError, InputError


@click.group()
def register() -> None:
    """Register organisations, identities and data sets on the ledger."""


@register.command()
@config_option
@click.option("--gateway", type=PathType(), required=True, metavar="FILE", help="The configuration of the hospital's gateway.")
@click.option("--name", required=True, help="The hospital's name, for people.")
@format_option
def hospital(config: Path, gateway: Path, name: str) -> Result:
    """Register a hospital with its gateway and its data set at once: all that it needs to take part."""
    settings = load_gateway_config(gateway)
    certificate = fingerprint(load_certificate(settings.identity.load().certificate_pem))

    async def everything(ledger: Ledger) -> None:
        budget = settings.budget
        for step in (
            ledger.register_organisation(name=name, kind="hospital"),
            ledger.register_identity(role="gateway", fingerprint=certificate, endpoint=settings.gateway.advertise),
            ledger.register_dataset(dataset=budget.dataset, epsilon_micro=budget.epsilon_micro, delta_inverse=budget.delta_inverse),
        ):
            await _unless_done(step)

    with_ledger(config, everything)
    return Result(
        {"mspid": settings.identity.mspid, "fingerprint": certificate, "dataset": settings.budget.dataset},
        [f"{settings.identity.mspid} is registered with its gateway and its data set {settings.budget.dataset}"],
    )


@register.command()
@config_option
@click.option("--to", "hospital", required=True, metavar="MSPID", help="The hospital that is to be elected more often.")
@click.option("--tokens", type=click.IntRange(min=0), required=True, metavar="N", help="Whole tokens lent from now on; 0 takes all back.")
@format_option
def delegation(config: Path, hospital: str, tokens: int) -> Result:
    """Lend tokens of the administrator's organisation to a hospital's weight in elections."""
    receipt = with_ledger(config, lambda ledger: ledger.delegate_stake(mspid=hospital, amount_micro=tokens * TOKEN))
    return Result({"tx_id": receipt.tx_id, **receipt.result}, [f"{tokens} tokens are lent to {hospital} from the next round on"])


@register.command()
@config_option
@click.option("--name", required=True, help="The organisation's name, for people.")
@click.option("--kind", type=click.Choice(["hospital", "research", "audit"]), required=True)
@format_option
def organisation(config: Path, name: str, kind: str) -> Result:
    """Register the organisation of the configuration's identity, an administrator."""
    mspid = load_client_config(config).identity.mspid
    receipt = with_ledger(config, lambda ledger: ledger.register_organisation(name=name, kind=kind))
    return Result({"mspid": mspid, "kind": kind, "tx_id": receipt.tx_id}, [f"{mspid} is registered as {kind}"])


@register.command()
@config_option
@click.option("--role", type=click.Choice(["gateway", "researcher", "auditor"]), required=True)
@click.option("--certificate", type=PathType(), required=True, metavar="FILE", help="The certificate that gets the role.")
@click.option("--endpoint", default="", metavar="HOST:PORT", help="Where a gateway can be reached; leave out if it cannot.")
@format_option
def identity(config: Path, role: str, certificate: Path, endpoint: str) -> Result:
    """Give a certificate of the administrator's organisation a role."""
    try:
        pem = certificate.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {certificate}: {error.strerror}") from error
    digest = fingerprint(load_certificate(pem))
    receipt = with_ledger(config, lambda ledger: ledger.register_identity(role=role, fingerprint=digest, endpoint=endpoint))
    return Result({"role": role, "fingerprint": digest, "tx_id": receipt.tx_id}, [f"certificate {digest} is a {role}"])


@register.command()
@config_option
@format_option
def dataset(config: Path) -> Result:
    """Register the hospital's data set with the privacy budget of its gateway's configuration, for ever."""
    settings = load_client_config(config)
    if not isinstance(settings, GatewayConfig):
        raise ConfigError(f"{config} has no [budget] section; use the configuration of the hospital's gateway")
    budget = settings.budget
    receipt = with_ledger(
        config,
        lambda ledger: ledger.register_dataset(
            dataset=budget.dataset, epsilon_micro=budget.epsilon_micro, delta_inverse=budget.delta_inverse
        ),
    )
    return Result(
        {"mspid": settings.identity.mspid, "dataset": budget.dataset, "tx_id": receipt.tx_id},
        [f"data set {budget.dataset} of {settings.identity.mspid} has the budget ε = {budget.epsilon:g}, δ = {budget.delta:g}"],
    )


async def _unless_done(step: Coroutine[Any, Any, Receipt]) -> None:
    """Take a step that an earlier, interrupted call may have taken already."""
    try:
        await step
    except ContractRefused as refusal:
        if refusal.code != "ALREADY_REGISTERED":
            raise
