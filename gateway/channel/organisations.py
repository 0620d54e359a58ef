"""Whom a transaction of the consortium's contract asks to endorse it."""

from fabric.client.endorsers import Organisations
from fabric.client.gateway import Gateway
from fabric.ledger import Ledger
from gateway.channel.current import read_channel

_HOSPITAL = "hospital"


async def read_organisations(client: Gateway) -> Organisations:
    """The channel's organisations, and the hospitals among them, whose peers guard their keys (fabric.contract.key_policies).

    Raises ContractRefused where the caller is not registered yet, LedgerError or ChannelConfigError.
    """
    members = [msp.mspid for msp in (await read_channel(client)).config.application]
    hospitals = {each.mspid for each in await Ledger(client).organisations() if each.kind == _HOSPITAL}
    return Organisations(members, [mspid for mspid in members if mspid in hospitals])
