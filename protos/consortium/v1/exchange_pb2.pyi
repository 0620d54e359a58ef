from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BlobKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BLOB_KIND_UNSPECIFIED: _ClassVar[BlobKind]
    BLOB_KIND_PUBLIC_KEY_SHARE: _ClassVar[BlobKind]
    BLOB_KIND_SEALED_KEY_SHARE: _ClassVar[BlobKind]
    BLOB_KIND_CIPHERTEXT: _ClassVar[BlobKind]
    BLOB_KIND_SUM: _ClassVar[BlobKind]
    BLOB_KIND_DECRYPTION_SHARE: _ClassVar[BlobKind]
    BLOB_KIND_KEY_ACCUSATION: _ClassVar[BlobKind]
    BLOB_KIND_SEALED_DECRYPTION_SHARE: _ClassVar[BlobKind]
BLOB_KIND_UNSPECIFIED: BlobKind
BLOB_KIND_PUBLIC_KEY_SHARE: BlobKind
BLOB_KIND_SEALED_KEY_SHARE: BlobKind
BLOB_KIND_CIPHERTEXT: BlobKind
BLOB_KIND_SUM: BlobKind
BLOB_KIND_DECRYPTION_SHARE: BlobKind
BLOB_KIND_KEY_ACCUSATION: BlobKind
BLOB_KIND_SEALED_DECRYPTION_SHARE: BlobKind

class BlobName(_message.Message):
    __slots__ = ("task_id", "round", "kind", "owner", "recipient", "group", "attempt")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    round: int
    kind: BlobKind
    owner: str
    recipient: str
    group: int
    attempt: int
    def __init__(self, task_id: _Optional[str] = ..., round: _Optional[int] = ..., kind: _Optional[_Union[BlobKind, str]] = ..., owner: _Optional[str] = ..., recipient: _Optional[str] = ..., group: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class BlobHeader(_message.Message):
    __slots__ = ("name", "size", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: BlobName
    size: int
    sha256: bytes
    def __init__(self, name: _Optional[_Union[BlobName, _Mapping]] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class UploadRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: BlobHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[BlobHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadResponse(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    def __init__(self, sha256: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: BlobName
    def __init__(self, name: _Optional[_Union[BlobName, _Mapping]] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: BlobHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[BlobHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...
