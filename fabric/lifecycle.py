"""A chaincode's definition as Fabric's lifecycle keeps it in the state: which version is in force, and who must endorse."""

from collections.abc import Callable
from dataclasses import dataclass

from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2, lifecycle_pb2
from google.protobuf.message import DecodeError, Message

from fabric.channel import ENDORSEMENT
from fabric.rwset import NamespaceRwset, Write

NAMESPACE = "_lifecycle"
COMMIT = "CommitChaincodeDefinition"
_FIELDS = ("Sequence", "EndorsementInfo", "ValidationInfo", "Collections")


class MalformedDefinition(ValueError):  # noqa: N818 - says what the bytes are
    """The state holds a definition that cannot be read."""


@dataclass(frozen=True)
class Definition:
    """What the organisations agreed on: `sequence` counts the definitions of a chaincode from 1."""

    chaincode: str
    version: str
    sequence: int

    @property
    def policy(self) -> bytes:
        """`ApplicationPolicy` bytes: the channel's own endorsement policy."""
        data: bytes = policy_pb2.ApplicationPolicy(channel_config_policy_reference=ENDORSEMENT).SerializeToString()
        return data

    @property
    def arguments(self) -> tuple[bytes, bytes]:
        """Function and argument of the call that commits the definition."""
        argument = lifecycle_pb2.CommitChaincodeDefinitionArgs(
            name=self.chaincode,
            version=self.version,
            sequence=self.sequence,
            endorsement_plugin="escc",
            validation_plugin="vscc",
            validation_parameter=self.policy,
        )
        return COMMIT.encode(), argument.SerializeToString()

    @property
    def rwset(self) -> NamespaceRwset:
        """What committing it writes, keys in order."""
        info = chaincode_definition_pb2.ChaincodeEndorsementInfo(version=self.version, endorsement_plugin="escc")
        validation = chaincode_definition_pb2.ChaincodeValidationInfo(validation_plugin="vscc", validation_parameter=self.policy)
        values = {
            _field(self.chaincode, "Sequence"): db_pb2.StateData(Int64=self.sequence),
            _field(self.chaincode, "EndorsementInfo"): db_pb2.StateData(Bytes=info.SerializeToString()),
            _field(self.chaincode, "ValidationInfo"): db_pb2.StateData(Bytes=validation.SerializeToString()),
            _field(self.chaincode, "Collections"): db_pb2.StateData(Bytes=b""),
            f"namespaces/metadata/{self.chaincode}": db_pb2.StateMetadata(datatype="ChaincodeDefinition", fields=_FIELDS),
        }
        return NamespaceRwset(NAMESPACE, writes=tuple(Write(key, _bytes(values[key])) for key in sorted(values)))


def read_definition(chaincode: str, value: Callable[[str], bytes | None]) -> Definition | None:
    """The definition in a state whose name space NAMESPACE holds `value(key)`; None where there is none. Raises MalformedDefinition."""
    sequence, info = value(_field(chaincode, "Sequence")), value(_field(chaincode, "EndorsementInfo"))
    if sequence is None or info is None:
        return None
    try:
        committed = chaincode_definition_pb2.ChaincodeEndorsementInfo.FromString(db_pb2.StateData.FromString(info).Bytes)
        return Definition(chaincode, committed.version, db_pb2.StateData.FromString(sequence).Int64)
    except DecodeError as error:
        raise MalformedDefinition(f"the definition of chaincode {chaincode} cannot be read") from error


def _field(chaincode: str, name: str) -> str:
    return f"namespaces/fields/{chaincode}/{name}"


def _bytes(message: Message) -> bytes:
    data: bytes = message.SerializeToString()
    return data
