"""Organisations and updates of a channel, told to people and to programs."""

from collections.abc import Mapping
from typing import Any

from fabric.msp import Msp
from gateway.channel.current import CurrentChannel
from gateway.channel.definition import describe_authority
from gateway.channel.update import Judgement
from gateway.cli.output import Result, table


def organisation_facts(msp: Msp) -> dict[str, Any]:
    """An organisation as the channel knows it; authorities with their fingerprints, to be compared by another way."""
    return {
        "mspid": msp.mspid,
        "authorities": [describe_authority(pem) for pem in (*msp.root_certs, *msp.intermediate_certs)],
        "tls_authorities": [describe_authority(pem) for pem in msp.tls_root_certs],
        "revocation_lists": len(msp.crls),
    }


def organisation_lines(facts: Mapping[str, Any], title: str) -> list[str]:
    """The same for people."""
    return [
        f"{title}, revocation lists: {facts['revocation_lists']}",
        *(f"  CA  {each}" for each in facts["authorities"]),
        *(f"  TLS {each}" for each in facts["tls_authorities"]),
    ]


def channel_report(current: CurrentChannel) -> Result:
    """Who belongs to the channel."""
    parts = (("member", current.config.application), ("orderer", current.config.orderer))
    organisations = [{"part": part, **organisation_facts(msp)} for part, msps in parts for msp in msps]
    lines = [f"channel {current.config.channel}, configuration {current.config.sequence}, ordered by {current.config.consensus}"]
    for each in organisations:
        lines += organisation_lines(each, f"{each['mspid']} ({each['part']})")
    data = {"channel": current.config.channel, "sequence": current.config.sequence, "consensus": current.config.consensus}
    return Result({**data, "organisations": organisations}, lines)


def update_report(current: CurrentChannel, judgement: Judgement, title: str) -> Result:
    """What an update would change of the channel, who signed it, and what is missing."""
    known = current.config.members.msps
    organisations = [{"new": msp.mspid not in known, **organisation_facts(msp)} for msp in judgement.organisations]
    lines = [title]
    for each in organisations:
        lines += organisation_lines(each, f"{'adds' if each['new'] else 'changes'} {each['mspid']}")
    rows = [(change.element, change.policy or "(new)", "yes" if change.satisfied else "no") for change in judgement.changes]
    lines += table(("changed", "decided by", "signed enough"), rows)
    signers = [signer.name for signer in judgement.signers]
    lines.append(f"signed by {', '.join(signers) or 'nobody yet'}")
    data = {
        "channel": current.config.channel,
        "organisations": organisations,
        "changes": [{"element": each.element, "policy": each.policy, "satisfied": each.satisfied} for each in judgement.changes],
        "signers": signers,
        "missing": list(judgement.missing),
    }
    return Result(data, lines)
