"""The privacy statement of a hospital's part in a task: what (ε, δ) it gives are about, as NIST SP 800-226 asks of every claim."""

from collections.abc import Mapping

from fabric.contract.records import PrivacyStatement

UNIT = "patient"
NEIGHBOURS = "add or remove one patient of one hospital"
ACCOUNTANT = "Rényi filter at the integer orders of fabric.contract.budget, micro-units rounded against the spender"


def statement(*, mspid: str, mode: str, epsilon_micro: Mapping[str, int], delta_inverse: int) -> PrivacyStatement:
    """`epsilon_micro`: the cap of each partition, of which every patient is in one.

    `mode` says whom the claim of an update trusts (docs/privacy.md); a hospital adds all noise itself to what it tells of the others.
    """
    return PrivacyStatement(
        mspid=mspid,
        unit=UNIT,
        neighbours=NEIGHBOURS,
        accountant=ACCOUNTANT,
        trust_model={partition: mode if partition == "train" else "local" for partition in epsilon_micro},
        epsilon_micro=dict(epsilon_micro),
        delta_inverse=delta_inverse,
    )
