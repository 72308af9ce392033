"""The DICOM upper layer as bytes, PS3.8 section 9.3: what we write and our own reading of answers.

pynetdicom builds our A-ASSOCIATE-RQ. The answer is read here, because pynetdicom's view of it
loses what an audit needs: omitted, repeated and unknown contexts, reserved codes (NEGOTIATION.md).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from sender.negotiation.contexts import Proposal, ProposedContext
from sender.negotiation.outcomes import Abort, ContextAnswer, PeerIdentity, Rejection
from sender.negotiation.peers import Peer
from sender.negotiation.texts import printable

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.28055265653564454676231754986908654444"
"""Derived from a UUID, PS3.5 annex B.2."""
IMPLEMENTATION_VERSION_NAME = "CONCORDAT_0_1"

ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
ASSOCIATE_RJ = 0x03
P_DATA = 0x04
RELEASE_RQ = 0x05
RELEASE_RP = 0x06
ABORT = 0x07
PDU_NAMES = {
    ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    ASSOCIATE_AC: "A-ASSOCIATE-AC",
    ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    P_DATA: "P-DATA-TF",
    RELEASE_RQ: "A-RELEASE-RQ",
    RELEASE_RP: "A-RELEASE-RP",
    ABORT: "A-ABORT",
}
HEADER_LENGTH = 6
PDV_HEADER_LENGTH = 6

RELEASE_RQ_PDU = bytes((RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0))
RELEASE_RP_PDU = bytes((RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))
ABORT_PDU = bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0))
"""A-ABORT by the service user (source 0), PS3.8 section 9.3.8."""

_AC_FIXED_LENGTH = 68
_ITEM_PRESENTATION_CONTEXT = 0x21
_ITEM_TRANSFER_SYNTAX = 0x40
_ITEM_USER_INFORMATION = 0x50
_ITEM_MAXIMUM_LENGTH = 0x51
_ITEM_IMPLEMENTATION_CLASS = 0x52
_ITEM_ROLE_SELECTION = 0x54
_ITEM_IMPLEMENTATION_VERSION = 0x55
_LONGEST_TEXT = 64


class Undecodable(ValueError):
    """Bytes of a peer make no sense as the PDU they claim to be."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an A-ASSOCIATE-AC says.

    Attributes:
        roles: SCP/SCU role selections, SOP class UID to (scu, scp) as granted.
    """

    answers: tuple[ContextAnswer, ...]
    peer: PeerIdentity
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)


def associate_request(peer: Peer, proposal: Proposal) -> bytes:
    """Return the A-ASSOCIATE-RQ PDU for a proposal (PS3.8 section 9.3.2), built by pynetdicom."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title = peer.calling_ae_title
    primitive.called_ae_title = peer.called_ae_title
    primitive.presentation_context_definition_list = [
        _presentation_context(context) for context in proposal.contexts
    ]
    primitive.user_information = [*_user_information(peer), *_role_selections(proposal)]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def _presentation_context(context: ProposedContext) -> PresentationContext:
    proposed = PresentationContext()
    proposed.context_id = context.context_id
    proposed.abstract_syntax = context.abstract_syntax
    proposed.transfer_syntax = list(context.transfer_syntaxes)
    return proposed


def _user_information(peer: Peer) -> list[Any]:
    maximum_length = MaximumLengthNotification()
    maximum_length.maximum_length_received = peer.maximum_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [maximum_length, implementation, version]


def _role_selections(proposal: Proposal) -> list[Any]:
    """Return one role item per abstract syntax that asks for roles (PS3.7 annex D.3.3.4)."""
    items: dict[str, object] = {}
    for context in proposal.contexts:
        if context.scu_role is None and context.scp_role is None:
            continue
        item = SCP_SCU_RoleSelectionNegotiation()
        item.sop_class_uid = context.abstract_syntax
        item.scu_role = context.scu_role is not False
        item.scp_role = bool(context.scp_role)
        items.setdefault(context.abstract_syntax, item)
    return list(items.values())


def parse_acceptance(pdu: bytes) -> Acceptance:
    """Read a whole A-ASSOCIATE-AC PDU, PS3.8 section 9.3.3, keeping what a peer got wrong.

    Missing optional items, unknown items, other AE titles and odd texts are tolerated.

    Raises:
        Undecodable: it is too short, or an item reaches beyond its end.
    """
    body = pdu[HEADER_LENGTH:]
    if len(body) < _AC_FIXED_LENGTH:
        raise Undecodable("The A-ASSOCIATE-AC is too short.")
    answers: list[ContextAnswer] = []
    peer = PeerIdentity()
    roles: dict[str, tuple[bool, bool]] = {}
    for kind, content in _items(body[_AC_FIXED_LENGTH:]):
        if kind == _ITEM_PRESENTATION_CONTEXT:
            answers.append(_answer(content))
        elif kind == _ITEM_USER_INFORMATION:
            peer, roles = _user_answers(content)
    return Acceptance(tuple(answers), peer, roles)


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(content):
        if position + 4 > len(content):
            raise Undecodable("An item of the A-ASSOCIATE-AC is cut off.")
        kind, length = struct.unpack_from(">BxH", content, position)
        end = position + 4 + length
        if end > len(content):
            raise Undecodable("An item of the A-ASSOCIATE-AC reaches beyond its end.")
        yield kind, content[position + 4 : end]
        position = end


def _answer(content: bytes) -> ContextAnswer:
    if len(content) < 4:
        raise Undecodable("A presentation context item of the A-ASSOCIATE-AC is too short.")
    found = [clean_text(t) for kind, t in _items(content[4:]) if kind == _ITEM_TRANSFER_SYNTAX]
    # Exactly one is allowed. Several that differ are kept as one text, which was never proposed.
    syntax = "\\".join(dict.fromkeys(found))[:_LONGEST_TEXT] if found else None
    return ContextAnswer(context_id=content[0], result=content[2], transfer_syntax=syntax)


def _user_answers(content: bytes) -> tuple[PeerIdentity, dict[str, tuple[bool, bool]]]:
    texts: dict[int, str] = {}
    roles: dict[str, tuple[bool, bool]] = {}
    maximum_length = None
    for kind, value in _items(content):
        if kind == _ITEM_MAXIMUM_LENGTH and len(value) == 4:
            maximum_length = int.from_bytes(value, "big")
        elif kind in (_ITEM_IMPLEMENTATION_CLASS, _ITEM_IMPLEMENTATION_VERSION):
            texts[kind] = clean_text(value)
        elif kind == _ITEM_ROLE_SELECTION and len(value) >= 4:
            length = int.from_bytes(value[:2], "big")
            granted = value[2 + length : 4 + length]
            if len(granted) == 2:
                roles[clean_text(value[2 : 2 + length])] = (granted[0] == 1, granted[1] == 1)
    peer = PeerIdentity(
        implementation_class_uid=texts.get(_ITEM_IMPLEMENTATION_CLASS, ""),
        implementation_version_name=texts.get(_ITEM_IMPLEMENTATION_VERSION, ""),
        maximum_length=maximum_length,
    )
    return peer, roles


def parse_rejection(pdu: bytes) -> Rejection:
    """Read an A-ASSOCIATE-RJ, codes as received.

    Raises:
        Undecodable: it is too short.
    """
    if len(pdu) < HEADER_LENGTH + 4:
        raise Undecodable("The A-ASSOCIATE-RJ is too short.")
    return Rejection(result=pdu[7], source=pdu[8], reason=pdu[9])


def parse_abort(pdu: bytes) -> Abort:
    """Read an A-ABORT, codes as received; a short one says 0/0."""
    codes = pdu[HEADER_LENGTH:].ljust(4, b"\0")
    return Abort(source=codes[2], reason=codes[3])


def clean_text(value: bytes, longest: int = _LONGEST_TEXT) -> str:
    """Return text of a peer as printable characters that any database and page takes."""
    return printable(value.rstrip(b"\0 ").decode("ascii", "backslashreplace"))[:longest]
