"""DIMSE command sets as bytes, PS3.7: the requests that we write and the responses that we trust.

A command set is encoded in Implicit VR Little Endian (PS3.7 section 6.3.1).
"""

import struct
from dataclasses import dataclass
from functools import lru_cache

from sender.dicom.upper_layer import clean_text

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030
NO_DATA_SET = 0x0101
DATA_SET_FOLLOWS = 0x0001
MEDIUM_PRIORITY = 0x0000

_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED = 0x0120
_PRIORITY = 0x0700
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_OFFENDING_ELEMENT = 0x0901
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE = 0x1000
_LONGEST_COMMENT = 64
_MOST_OFFENDING = 16


class Untrusted(ValueError):
    """A response can't be taken as the answer to our request; the message says why."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response that answers our request."""

    status: int
    error_comment: str = ""
    offending_elements: tuple[str, ...] = ()


SUCCESS = Response(0x0000)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the response to a request must say (RELIABILITY.md, the truth rule)."""

    command: int
    message_id: int
    sop_class: str
    sop_instance: str = ""


def _element(number: int, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0"
    return struct.pack("<HHI", 0, number, len(value)) + value


def _us(number: int, value: int) -> bytes:
    return struct.pack("<HHIH", 0, number, 2, value)


def _with_group_length(elements: bytes) -> bytes:
    return _element(_GROUP_LENGTH, struct.pack("<I", len(elements))) + elements


_STORE_RQ = _us(_COMMAND_FIELD, C_STORE_RQ) + _us(_MESSAGE_ID, 0)[:-2]
_STORE_RQ_END = (
    _us(_PRIORITY, MEDIUM_PRIORITY)
    + _us(_DATA_SET_TYPE, DATA_SET_FOLLOWS)
    + _element(_AFFECTED_SOP_INSTANCE, b"")[:-4]
)
_STORE_RSP = _us(_COMMAND_FIELD, C_STORE_RSP) + _us(_MESSAGE_ID_RESPONDED, 0)[:-2]
_STORE_RSP_END = (
    _us(_DATA_SET_TYPE, NO_DATA_SET)
    + _us(_STATUS, 0x0000)
    + _element(_AFFECTED_SOP_INSTANCE, b"")[:-4]
)
_GROUP_LENGTH_HEAD = _us(_GROUP_LENGTH, 0)[:-6] + struct.pack("<I", 4)


@lru_cache(maxsize=1024)
def _store_parts(sop_class: str, uid_length: int) -> tuple[bytes, bytes, bytes, bytes]:
    """Return what stands before the message ID and before the SOP Instance UID, of both messages.

    Args:
        uid_length: bytes of the SOP Instance UID, padded.
    """
    named = _element(_AFFECTED_SOP_CLASS, sop_class.encode("ascii"))
    length = uid_length.to_bytes(4, "little")
    parts: list[bytes] = []
    for head, end in ((_STORE_RQ, _STORE_RQ_END), (_STORE_RSP, _STORE_RSP_END)):
        whole = len(named) + len(head) + 2 + len(end) + 4 + uid_length
        group = _GROUP_LENGTH_HEAD + whole.to_bytes(4, "little")
        parts += (group + named + head, end + length)
    return parts[0], parts[1], parts[2], parts[3]


def store_messages(message_id: int, sop_class: str, sop_instance: str) -> tuple[bytes, bytes]:
    """Return the command set of a C-STORE-RQ, and of the C-STORE-RSP that means 0000.

    PS3.7 sections 9.3.1.1 and 9.3.1.2. The response holds all its elements, optional ones too,
    each once: so nearly all peers put it, and so it need not be decoded.
    """
    uid = sop_instance.encode("ascii")
    if len(uid) % 2:
        uid += b"\0"
    request, request_end, response, response_end = _store_parts(sop_class, len(uid))
    number = message_id.to_bytes(2, "little")
    return request + number + request_end + uid, response + number + response_end + uid


def echo_request(message_id: int, sop_class: str) -> bytes:
    """Return the command set of a C-ECHO-RQ, PS3.7 section 9.3.5.1."""
    return _with_group_length(
        _element(_AFFECTED_SOP_CLASS, sop_class.encode("ascii"))
        + _us(_COMMAND_FIELD, C_ECHO_RQ)
        + _us(_MESSAGE_ID, message_id)
        + _us(_DATA_SET_TYPE, NO_DATA_SET)
    )


def read_response(command: bytes, expected: Expected) -> Response:
    """Read a response and make sure that it answers our request.

    Raises:
        Untrusted: it is cut off, or says something else than it must.
    """
    elements = _elements(command)
    checks = (
        (_COMMAND_FIELD, expected.command, "command field"),
        (_MESSAGE_ID_RESPONDED, expected.message_id, "message ID"),
    )
    for number, wanted, name in checks:
        if _number(elements, number) != wanted:
            raise Untrusted(f"the response has another {name} than our request")
    for number, uid, name in (
        (_AFFECTED_SOP_CLASS, expected.sop_class, "SOP class"),
        (_AFFECTED_SOP_INSTANCE, expected.sop_instance, "SOP instance"),
    ):
        given = elements.get(number, b"").rstrip(b"\0 ").decode("ascii", "replace")
        if given and uid and given != uid:
            raise Untrusted(f"the response names another {name} than our request")
    if _number(elements, _DATA_SET_TYPE) not in (NO_DATA_SET, None):
        raise Untrusted("the response announces a data set")
    status = _number(elements, _STATUS)
    if status is None:
        raise Untrusted("the response has no status")
    if status in (0xFF00, 0xFF01):
        raise Untrusted("the response says that the operation is still pending")
    return Response(
        status=status,
        error_comment=clean_text(elements.get(_ERROR_COMMENT, b""), _LONGEST_COMMENT),
        offending_elements=_tags(elements.get(_OFFENDING_ELEMENT, b"")),
    )


def _elements(command: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(command):
        if position + 8 > len(command):
            raise Untrusted("the command set of the response is cut off")
        group, number, length = struct.unpack_from("<HHI", command, position)
        end = position + 8 + length
        if end > len(command) or group != 0:
            raise Untrusted("the command set of the response can't be decoded")
        value = command[position + 8 : end]
        if elements.setdefault(number, value) != value:
            raise Untrusted("the command set of the response contradicts itself")
        position = end
    return elements


def _number(elements: dict[int, bytes], number: int) -> int | None:
    value = elements.get(number, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _tags(value: bytes) -> tuple[str, ...]:
    pairs = struct.iter_unpack("<HH", value[: len(value) - len(value) % 4])
    return tuple(f"{group:04X},{element:04X}" for group, element in pairs)[:_MOST_OFFENDING]
