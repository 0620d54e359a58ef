"""Which versions of the contract a gateway can work with: those of its own major version that are not earlier than its own."""

from fabric.contract.release import RELEASE, Release, rules_number
from fabric.ledger_views import VersionView
from gateway.errors import ConfigError


def check_contract(found: VersionView, own: Release = RELEASE) -> None:
    """Raise ConfigError unless a program written for contract `own` understands the contract that the ledger says it runs.

    A later minor version accepts what earlier gateways send and shows what they look for, and more.
    """
    said = f"the ledger runs contract {found.version}"
    try:
        theirs = rules_number(found.version.rpartition(".")[0])
    except ValueError as error:
        raise ConfigError(f"{said}, which is no version this program can read; check [ledger] chaincode") from error
    ours = rules_number(own.rules)
    if theirs[0] != ours[0]:
        raise ConfigError(f"{said} and this program works with {ours[0]}.x; start the release of the program that belongs to it")
    if theirs < ours:
        raise ConfigError(
            f"{said} and this program needs {own.rules} or later; upgrade the contract first, or start the earlier release of the program"
        )
