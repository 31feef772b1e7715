"""TensorFlow's record files without TensorFlow: checked frames, each one protocol buffer of named lists."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from kinema.data.optional import library
from kinema.schema import KinemaError

_READS = "RLDS sets"


def records(path: Path) -> Iterator[bytes]:
    """The records of a file, in order: length, its checksum, content, its checksum. Raises KinemaError."""
    crc32c = library("google_crc32c", "rlds", _READS)
    with path.open("rb") as file:
        number = 0
        while head := file.read(12):
            length = head[:8]
            size = struct.unpack("<Q", length)[0] if len(head) == 12 else 0
            if len(head) < 12 or struct.unpack("<I", head[8:])[0] != _masked(crc32c.value(length)):
                raise KinemaError(f"{path}: record {number} is damaged or cut short")
            content, tail = file.read(size), file.read(4)
            if (
                len(content) < size
                or len(tail) < 4
                or struct.unpack("<I", tail)[0] != _masked(crc32c.value(content))
            ):
                raise KinemaError(f"{path}: record {number} is damaged or cut short")
            yield content
            number += 1


def count(path: Path) -> int:
    """How many records a file holds, without reading their contents."""
    number, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            head = file.read(12)
            number += 1
            if len(head) < 12 or file.seek(struct.unpack("<Q", head[:8])[0] + 4, 1) > size:
                raise KinemaError(f"{path}: record {number - 1} is damaged or cut short")
    return number


def lists_of(record: bytes, where: str) -> dict[str, list[Any]]:
    """The lists of a tf.train.Example by name: bytes, floats or whole numbers."""
    message = _example()()
    try:
        message.ParseFromString(record)
    except Exception as error:  # protobuf's own, which differs from release to release
        raise KinemaError(f"{where} is not an Example: {error}") from None
    return {
        name: list(getattr(feature, kind).value) if (kind := feature.WhichOneof("kind")) else []
        for name, feature in message.features.feature.items()
    }


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _example() -> Any:
    """The class of tf.train.Example, as tensorflow/core/example/{example,feature}.proto define it."""
    descriptor_pb2 = library("google.protobuf.descriptor_pb2", "rlds", _READS)
    descriptor_pool = library("google.protobuf.descriptor_pool", "rlds", _READS)
    message_factory = library("google.protobuf.message_factory", "rlds", _READS)
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="kinema_example.proto", package="kinema", syntax="proto3")

    def message(name: str, *fields: Any) -> Any:
        return file.message_type.add(name=name, field=fields)

    def one(name: str, number: int, kind: str, many: bool = False, **more: Any) -> Any:
        label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
        if kind.startswith("."):
            return field(
                name=name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=kind, **more
            )
        return field(name=name, number=number, label=label, type=getattr(field, f"TYPE_{kind}"), **more)

    for kind in ("BYTES", "FLOAT", "INT64"):
        message(f"{kind.title()}List", one("value", 1, kind, many=True))
    lists = (
        ("bytes_list", ".kinema.BytesList"),
        ("float_list", ".kinema.FloatList"),
        ("int64_list", ".kinema.Int64List"),
    )
    feature = message("Feature", *(one(n, i, kind, oneof_index=0) for i, (n, kind) in enumerate(lists, 1)))
    feature.oneof_decl.add(name="kind")
    features = message("Features", one("feature", 1, ".kinema.Features.FeatureEntry", many=True))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.field.extend([one("key", 1, "STRING"), one("value", 2, ".kinema.Feature")])
    entry.options.map_entry = True
    message("Example", one("features", 1, ".kinema.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kinema.Example"))
