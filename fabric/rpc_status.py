"""`google.rpc.Status`: how a Fabric peer attaches `gateway.ErrorDetail` messages to a failed call.

The message is described here, from its three public fields, in a descriptor pool of its own: the package that carries it
would be a dependency for this alone, and a second copy in the default pool would clash with it where it is installed.
"""

from collections.abc import Iterable
from typing import Any

from fabric_protos.gateway import gateway_pb2
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

METADATA_KEY = "grpc-status-details-bin"


def _status_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    pool: Any = descriptor_pool.DescriptorPool()  # its published types leave some of its methods out
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="google/rpc/status.proto",
            package="google.rpc",
            syntax="proto3",
            dependency=["google/protobuf/any.proto"],
            message_type=[
                descriptor_pb2.DescriptorProto(
                    name="Status",
                    field=[
                        field(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL),
                        field(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL),
                        field(
                            name="details",
                            number=3,
                            type=field.TYPE_MESSAGE,
                            type_name=".google.protobuf.Any",
                            label=field.LABEL_REPEATED,
                        ),
                    ],
                )
            ],
        )
    )
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))


_Status = _status_class()


def encode(code: int, message: str, details: Iterable[Any]) -> bytes:
    """The value of the METADATA_KEY trailer for a gRPC status with protobuf `details` (usually gateway.ErrorDetail)."""
    status = _Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    data: bytes = status.SerializeToString()
    return data


def error_details(trailer: bytes) -> tuple[Any, ...]:
    """The gateway.ErrorDetail messages of a METADATA_KEY trailer; what cannot be read or is of another type is left out."""
    found = []
    try:
        for packed in _Status.FromString(trailer).details:
            detail = gateway_pb2.ErrorDetail()
            if packed.Unpack(detail):
                found.append(detail)
    except DecodeError:
        return ()
    return tuple(found)
