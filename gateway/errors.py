"""Every way the product fails: its exit code, its code for programs and its gRPC status, in one table."""

from enum import IntEnum
from typing import NamedTuple

import grpc


class ExitCode(IntEnum):
    """Exit codes of the command `consortium`; the README's table is checked against this one."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    BAD_INPUT = 3
    REFUSED = 4
    UNAVAILABLE = 5
    VERIFICATION_FAILED = 6
    INCOMPLETE = 7
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "an error nobody foresaw: a fault of the product, please report it",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.BAD_INPUT: "a configuration, task file, data folder, certificate or port cannot be used",
    ExitCode.REFUSED: "the ledger's contract or a hospital's policy refused",
    ExitCode.UNAVAILABLE: "the ledger or a gateway does not answer, or died",
    ExitCode.VERIFICATION_FAILED: "the ledger, a model or a ciphertext is not what it should be",
    ExitCode.INCOMPLETE: "the task was abandoned, rejected or has no result yet",
    ExitCode.INTERRUPTED: "interrupted from the keyboard or by a signal",
}


class ProductError(Exception):
    """A failure with one clear sentence: what was wrong, where, what to do."""

    exit_code = ExitCode.UNEXPECTED
    error_code = "UNEXPECTED"
    grpc_status = grpc.StatusCode.INTERNAL


class ConfigError(ProductError):
    """A configuration file cannot be used."""

    exit_code = ExitCode.BAD_INPUT
    error_code = "BAD_CONFIG"
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class InputError(ProductError):
    """A file, folder, name or value that the user gave cannot be used."""

    exit_code = ExitCode.BAD_INPUT
    error_code = "BAD_INPUT"
    grpc_status = grpc.StatusCode.INVALID_ARGUMENT


class PortInUse(ProductError):  # noqa: N818 (the name already says what happened)
    """Another program listens where this one is to listen."""

    exit_code = ExitCode.BAD_INPUT
    error_code = "PORT_IN_USE"
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class PolicyRefused(ProductError):  # noqa: N818 (the name already says what happened)
    """A hospital's own policy refuses a task or a request."""

    exit_code = ExitCode.REFUSED
    error_code = "POLICY_REFUSED"
    grpc_status = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(ProductError):  # noqa: N818 (the name already says what happened)
    """A gateway does not answer, or a process of the demo died."""

    exit_code = ExitCode.UNAVAILABLE
    error_code = "UNAVAILABLE"
    grpc_status = grpc.StatusCode.UNAVAILABLE


class VerificationFailed(ProductError):  # noqa: N818 (the name already says what happened)
    """Something was checked against the ledger and is not what the ledger says."""

    exit_code = ExitCode.VERIFICATION_FAILED
    error_code = "VERIFICATION_FAILED"
    grpc_status = grpc.StatusCode.DATA_LOSS


class TaskIncomplete(ProductError):  # noqa: N818 (the name already says what happened)
    """The task was abandoned, rejected or has no result yet."""

    exit_code = ExitCode.INCOMPLETE
    error_code = "TASK_INCOMPLETE"
    grpc_status = grpc.StatusCode.FAILED_PRECONDITION


class Kind(NamedTuple):
    """How one class of errors leaves the product: to a shell, to a program, to a gRPC caller."""

    exit_code: ExitCode
    error_code: str
    grpc_status: grpc.StatusCode


# Errors of the sibling packages, which know nothing of exit codes. By name, because importing privacy loads torch and TenSEAL,
# and a command that only reports a missing file must not wait seconds for them. A test imports every name.
_FOREIGN = {
    "fabric.crypto.IdentityError": Kind(ExitCode.BAD_INPUT, "BAD_IDENTITY", grpc.StatusCode.UNAUTHENTICATED),
    "fabric.canonical.CanonicalError": Kind(ExitCode.BAD_INPUT, "BAD_INPUT", grpc.StatusCode.INVALID_ARGUMENT),
    "fabric.devpki.DevPkiError": Kind(ExitCode.BAD_INPUT, "BAD_INPUT", grpc.StatusCode.INVALID_ARGUMENT),
    "fabric.devledger.errors.DevLedgerError": Kind(ExitCode.BAD_INPUT, "BAD_LEDGER", grpc.StatusCode.FAILED_PRECONDITION),
    "fabric.contract.errors.ContractError": Kind(ExitCode.REFUSED, "CONTRACT_REFUSED", grpc.StatusCode.FAILED_PRECONDITION),
    "fabric.client.errors.ContractRefused": Kind(ExitCode.REFUSED, "CONTRACT_REFUSED", grpc.StatusCode.FAILED_PRECONDITION),
    "fabric.client.errors.LedgerError": Kind(ExitCode.UNAVAILABLE, "LEDGER_ERROR", grpc.StatusCode.UNAVAILABLE),
    "fabric.verify.VerificationError": Kind(ExitCode.VERIFICATION_FAILED, "VERIFICATION_FAILED", grpc.StatusCode.DATA_LOSS),
    "fabric.channel.ChannelConfigError": Kind(ExitCode.VERIFICATION_FAILED, "BAD_CHANNEL", grpc.StatusCode.DATA_LOSS),
    "fabric.decoding.DecodeError": Kind(ExitCode.VERIFICATION_FAILED, "BAD_ANSWER", grpc.StatusCode.DATA_LOSS),
    "privacy.accounting.AccountingError": Kind(ExitCode.BAD_INPUT, "BAD_PRIVACY", grpc.StatusCode.INVALID_ARGUMENT),
    "privacy.architectures.ModelError": Kind(ExitCode.BAD_INPUT, "BAD_MODEL", grpc.StatusCode.INVALID_ARGUMENT),
    "privacy.training.TrainingError": Kind(ExitCode.BAD_INPUT, "BAD_TRAINING", grpc.StatusCode.INVALID_ARGUMENT),
    "privacy.ciphertext.CiphertextError": Kind(ExitCode.VERIFICATION_FAILED, "BAD_CIPHERTEXT", grpc.StatusCode.INVALID_ARGUMENT),
    "privacy.partial.DecryptionError": Kind(ExitCode.VERIFICATION_FAILED, "BAD_DECRYPTION", grpc.StatusCode.INVALID_ARGUMENT),
    "privacy.public_key.KeyMaterialError": Kind(ExitCode.VERIFICATION_FAILED, "BAD_KEY", grpc.StatusCode.INVALID_ARGUMENT),
    "privacy.sealing.SealingError": Kind(ExitCode.VERIFICATION_FAILED, "BAD_KEY", grpc.StatusCode.INVALID_ARGUMENT),
}

_UNEXPECTED = Kind(ExitCode.UNEXPECTED, "UNEXPECTED", grpc.StatusCode.INTERNAL)


def kind_of(error: BaseException) -> Kind:
    """Classify any exception by its nearest class in the table; what no row names is a fault of the product."""
    if isinstance(error, ProductError):
        return Kind(error.exit_code, error.error_code, error.grpc_status)
    for cls in type(error).__mro__:
        found = _FOREIGN.get(f"{cls.__module__}.{cls.__qualname__}")
        if found is not None:
            return found
    return _UNEXPECTED
