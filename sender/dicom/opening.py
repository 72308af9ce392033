"""The way to an association: name, connection, TLS, proposal and answer."""

import socket
import time
from dataclasses import replace
from typing import NoReturn

from sender.dicom import connecting, tls, upper_layer
from sender.dicom.bulk import Framing
from sender.dicom.evidence import Evidence
from sender.dicom.exchange import Ending, Exchange, ending_of
from sender.dicom.wire import ConnectionLost, Wire
from sender.negotiation import codes
from sender.negotiation.contexts import Proposal
from sender.negotiation.outcomes import (
    AssociationKind,
    Connection,
    Phase,
    RawPdu,
    Rejection,
    answered,
)
from sender.negotiation.peers import Peer, TlsSettings


def open_wire(peer: Peer, evidence: Evidence) -> Wire:
    """Connect to a peer, through TLS if so set.

    Raises:
        Ending: no connection, or no TLS session.
    """
    connection = _connect(peer, evidence)
    (local, local_port), (address, port) = connecting.addresses_of(connection)
    evidence.note(connection=Connection(local, local_port, address, port))
    if peer.tls is None:
        return Wire(connection)
    try:
        with evidence.phase(Phase.TLS):
            return _secure(connection, peer.tls, peer, evidence)
    except OSError as error:
        connection.close()
        _note_chain(evidence, getattr(error, "chain", ()))
        raise ending_of(error) from error


def _connect(peer: Peer, evidence: Evidence) -> socket.socket:
    timeout = peer.timeouts.connect
    started = time.monotonic()
    try:
        with evidence.phase(Phase.RESOLVE):
            addresses = connecting.resolve(peer.address, peer.port, seconds=timeout)
        with evidence.phase(Phase.CONNECT):
            left = max(0.001, timeout - (time.monotonic() - started))
            return connecting.connect(addresses, seconds=left)
    except connecting.NameNotResolved as error:
        evidence.note(is_passing=error.is_passing)
        raise Ending(AssociationKind.DNS_FAILED, str(error)) from error
    except ConnectionLost as error:
        raise ending_of(error) from error
    except OSError as error:
        raise Ending(AssociationKind.TCP_FAILED, str(error)) from error


def _secure(
    connection: socket.socket, settings: TlsSettings, peer: Peer, evidence: Evidence
) -> tls.TlsWire:
    session = tls.secure(connection, settings, address=peer.address, seconds=peer.timeouts.tls)
    facts = tls.facts_of(session.library)
    evidence.note(
        connection=replace(
            evidence.outcome.connection,
            tls_version=facts.version,
            tls_cipher=facts.cipher,
            peer_certificate_sha256=facts.certificate_sha256,
            peer_certificate_expires_at=facts.expires_at,
        )
    )
    _note_chain(evidence, facts.chain)
    return tls.TlsWire(connection, session)


def _note_chain(evidence: Evidence, chain: tuple[bytes, ...]) -> None:
    evidence.note(connection=replace(evidence.outcome.connection, peer_chain=chain))


def propose(exchange: Exchange, peer: Peer, proposal: Proposal) -> Framing:
    """Send the proposal and take the answer; an acceptance of nothing is one too.

    Raises:
        Ending: the peer rejected, aborted, said something else, or nothing.
    """
    request = upper_layer.associate_request(peer, proposal)
    evidence = exchange.evidence
    try:
        answer = exchange.read_answer(request, peer.timeouts.acse)
    except Ending as ending:
        if not _may_miss_our_certificate(ending, exchange, peer):
            raise
        detail = f"{ending.detail} {MAY_MISS_OUR_CERTIFICATE}"
        raise Ending(ending.kind, detail, ending.stall) from ending
    try:
        if answer[0] == upper_layer.ASSOCIATE_AC:
            evidence.keep(RawPdu("A-ASSOCIATE-AC", False, answer))
            return _take_acceptance(exchange, proposal, upper_layer.parse_acceptance(answer))
        if answer[0] == upper_layer.ASSOCIATE_RJ:
            evidence.keep(RawPdu("A-ASSOCIATE-RJ", False, answer))
            _take_rejection(evidence, upper_layer.parse_rejection(answer))
        _refuse(exchange, answer)
    except upper_layer.Undecodable as error:
        exchange.abort_for(str(error))


def _may_miss_our_certificate(ending: Ending, exchange: Exchange, peer: Peer) -> bool:
    """Tell whether a peer that left without an answer may have wanted to see our certificate.

    In TLS 1.3 our side of the handshake is done before the peer has looked for one (RFC 8446
    section 4.4.2), and the library does not tell whether it asked. An alert that says so is clear
    without our help.
    """
    return (
        peer.tls is not None
        and not peer.tls.cert_file
        and exchange.evidence.outcome.connection.tls_version == "TLSv1.3"
        and ending.kind in (AssociationKind.CONNECTION_LOST, AssociationKind.TLS_FAILED)
        and "certificate required" not in ending.detail
        and not exchange.wire.pending()
    )


MAY_MISS_OUR_CERTIFICATE = (
    "It may ask for a client certificate: none is set for this destination, and in TLS 1.3 a peer "
    "refuses that only after the handshake."
)


def _take_rejection(evidence: Evidence, found: Rejection) -> NoReturn:
    evidence.note(rejection=found)
    raise Ending(AssociationKind.REJECTED, codes.say_rejection(found))


def _refuse(exchange: Exchange, answer: bytes) -> NoReturn:
    if answer[0] == upper_layer.ABORT:
        exchange.take_abort(answer)
    exchange.evidence.keep_unrecognised(answer)
    name = upper_layer.PDU_NAMES.get(answer[0], f"a PDU of type {answer[0]:02X}")
    exchange.abort_for(f"The peer answered the A-ASSOCIATE-RQ with {name}.")


def _take_acceptance(
    exchange: Exchange, proposal: Proposal, acceptance: upper_layer.Acceptance
) -> Framing:
    evidence = exchange.evidence
    contexts, strays = answered(proposal, acceptance.answers, acceptance.roles)
    evidence.note(contexts=contexts, strays=strays, peer=acceptance.peer)
    framing = Framing(acceptance.peer.maximum_length)
    if not any(context.is_accepted for context in contexts):
        evidence.note(
            kind=AssociationKind.NO_CONTEXT_ACCEPTED,
            detail="The peer accepted none of the proposed presentation contexts.",
        )
        return framing
    if not framing.is_possible:
        most = acceptance.peer.maximum_length
        plural = "" if most == 1 else "s"
        exchange.abort_for(
            f"The peer receives at most {most} byte{plural} at a time, which holds no data."
        )
    evidence.note(kind=AssociationKind.ESTABLISHED, phase=Phase.TRANSFER, detail="")
    return framing
