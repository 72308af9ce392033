"""Values that repeat, stored once: found by digest, remembered by the process.

Rows are written outside the transaction that uses them where that can be, so that two first
sightings do not wait for each other (HISTORY.md 5.2).
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.db import models, transaction

from sender.models import (
    AbstractSyntax,
    DefinitionListSyntax,
    Endpoint,
    ErasableText,
    Pdu,
    PeerIdentity,
    PresentationContextDefinitionList,
    ProposedPresentationContext,
    TlsSession,
    TransferSyntax,
    TransferSyntaxList,
    TransferSyntaxListItem,
)
from sender.negotiation import outcomes, sop_classes, syntaxes
from sender.negotiation.contexts import Proposal
from sender.services.canonical import digest

_remembered: dict[tuple[str, object], int] = {}
MOST_REMEMBERED = 100_000
MOST_SYNTAXES = 1000
"""So many are read at once: more than there are, but for what strange peers answer."""


def forget() -> None:
    """Drop what is remembered: for tests, whose databases start anew."""
    _remembered.clear()


def remember(name: str, key: object, find: Callable[[], int]) -> int:
    """Return the id that `find` returned for a key of this name, which the process remembers."""
    if (name, key) not in _remembered:
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[name, key] = find()
    return _remembered[name, key]


def _find(model: type[models.Model], key: dict[str, Any]) -> int | None:
    """Return the id of the row with this unique key, if there is one."""
    return model._default_manager.filter(**key).values_list("pk", flat=True).first()


def _intern(model: type[models.Model], key: dict[str, Any], rest: dict[str, Any]) -> int:
    """Return the id of the row with this unique key, inserted if it was missing."""
    found = _find(model, key)
    if found is None:
        manager = model._default_manager
        manager.bulk_create([model(**key, **rest)], ignore_conflicts=True)
        found = manager.filter(**key).values_list("pk", flat=True).get()
    return int(found)


def intern_whole(
    model: type[models.Model],
    key: dict[str, Any],
    rest: dict[str, Any],
    write_parts: Callable[[int], None],
    syntaxes_of: Callable[[], object],
) -> int:
    """Return the id of a row that has parts: whoever finds it finds all of them.

    Args:
        key: its unique key; `rest` its other columns.
        write_parts: writes them, in the transaction of the row, whose id it gets.
        syntaxes_of: interns what the parts refer to, outside of their transaction: of two first
            sightings none waits for the other, and nothing is remembered that is rolled back.
    """
    found = _find(model, key)
    if found is None:
        syntaxes_of()
        with transaction.atomic():
            found = _intern(model, key, rest)
            write_parts(found)
    return found


def _syntax_id(model: type[AbstractSyntax | TransferSyntax], uid: str, rest: dict[str, Any]) -> int:
    """Return the row of a syntax; whoever asks for one learns of the others."""
    name = model.__name__
    if (name, uid) not in _remembered:
        known = model._default_manager.values_list("uid", "pk")[:MOST_SYNTAXES]
        _remembered.update({(name, uid): number for uid, number in known})
    return remember(name, uid, lambda: _intern(model, {"uid": uid}, rest))


def abstract_syntax_id(uid: str) -> int:
    """Return the row of an abstract syntax."""
    return _syntax_id(AbstractSyntax, uid, {"name": sop_classes.name_of(uid)[:128]})


def transfer_syntax_id(uid: str) -> int:
    """Return the row of a transfer syntax; a peer's text that is no UID is cut to 64 letters."""
    uid = uid[:64]
    known = syntaxes.find(uid)
    rest = {
        "name": syntaxes.name_of(uid)[:128],
        "encapsulated": known.encapsulated if known else None,
        "deflated": known.deflated if known else None,
        "big_endian": known.big_endian if known else None,
    }
    return _syntax_id(TransferSyntax, uid, rest)


def _syntax_list_id(uids: tuple[str, ...]) -> int:
    return remember("tsl", uids, lambda: _find_syntax_list(uids))


def _find_syntax_list(uids: tuple[str, ...]) -> int:
    def write(list_id: int) -> None:
        TransferSyntaxListItem.objects.bulk_create(
            [
                TransferSyntaxListItem(
                    list_id=list_id, position=position, transfer_syntax_id=transfer_syntax_id(uid)
                )
                for position, uid in enumerate(uids)
            ],
            ignore_conflicts=True,
        )

    return intern_whole(
        TransferSyntaxList,
        {"digest": digest(*uids)},
        {},
        write,
        lambda: [transfer_syntax_id(uid) for uid in uids],
    )


def proposal_digest(proposal: Proposal) -> bytes:
    """Return the digest by which a proposal is interned."""
    return digest(
        *(
            digest(c.context_id, c.abstract_syntax, c.scu_role, c.scp_role, *c.transfer_syntaxes)
            for c in proposal.contexts
        )
    )


def definition_list_id(proposal: Proposal) -> int:
    """Return the row of a proposal, with its contexts and derived counts."""
    return remember("dl", proposal, lambda: _find_definition_list(proposal))


def _find_definition_list(proposal: Proposal) -> int:
    return intern_whole(
        PresentationContextDefinitionList,
        {"digest": proposal_digest(proposal)},
        {"context_count": len(proposal.contexts)},
        lambda list_id: _write_contexts(list_id, proposal),
        lambda: [
            (
                abstract_syntax_id(context.abstract_syntax),
                _syntax_list_id(context.transfer_syntaxes),
            )
            for context in proposal.contexts
        ],
    )


def _write_contexts(list_id: int, proposal: Proposal) -> None:
    ProposedPresentationContext.objects.bulk_create(
        [
            ProposedPresentationContext(
                definition_list_id=list_id,
                presentation_context_id=context.context_id,
                abstract_syntax_id=abstract_syntax_id(context.abstract_syntax),
                transfer_syntax_list_id=_syntax_list_id(context.transfer_syntaxes),
                scu_role=context.scu_role,
                scp_role=context.scp_role,
            )
            for context in proposal.contexts
        ],
        ignore_conflicts=True,
    )
    write_definition_counts(list_id, proposal)


def write_definition_counts(list_id: int, proposal: Proposal) -> None:
    """Write how often a proposal proposes each pair; derived, so it may be rebuilt."""
    counted = Counter(
        (context.abstract_syntax, uid)
        for context in proposal.contexts
        for uid in context.transfer_syntaxes
    )
    DefinitionListSyntax.objects.bulk_create(
        [
            DefinitionListSyntax(
                definition_list_id=list_id,
                abstract_syntax_id=abstract_syntax_id(abstract_syntax),
                transfer_syntax_id=transfer_syntax_id(uid),
                contexts=contexts,
            )
            for (abstract_syntax, uid), contexts in sorted(counted.items())
        ],
        ignore_conflicts=True,
    )


def peer_identity_id(peer: outcomes.PeerIdentity) -> int:
    """Return the row of what an acceptor said of itself."""
    values = {
        "implementation_class_uid": peer.implementation_class_uid[:64],
        "implementation_version_name": peer.implementation_version_name[:64],
        "maximum_length_received": peer.maximum_length,
    }
    key = {"digest": digest(*values.values())}
    return remember("peer", peer, lambda: _intern(PeerIdentity, key, values))


def endpoint_id(sender_host: str, connection: outcomes.Connection) -> int:
    """Return the row of the hosts between which a connection ran."""
    values = {
        "sender_host": sender_host,
        "local_address": connection.local_address,
        "peer_address": connection.peer_address,
        "peer_port": connection.peer_port,
    }
    key = {"digest": digest(*values.values())}
    return remember("end", key["digest"], lambda: _intern(Endpoint, key, values))


def tls_session_id(connection: outcomes.Connection) -> int | None:
    """Return the row of what a TLS handshake agreed; None for a plain connection."""
    if not connection.tls_version:
        return None
    values = {
        "version": connection.tls_version,
        "cipher": connection.tls_cipher,
        "peer_certificate_sha256": connection.peer_certificate_sha256,
        "peer_certificate_expires_at": connection.peer_certificate_expires_at,
    }
    key = {"digest": digest(*values.values())}
    return remember("tls", key["digest"], lambda: _intern(TlsSession, key, values))


def pdu_id(pdu: outcomes.RawPdu) -> int:
    """Return the row of the bytes of a control PDU."""
    key = {"digest": digest(pdu.name, pdu.content)}
    rest = {"name": pdu.name, "content": pdu.content}
    return remember("pdu", key["digest"], lambda: _intern(Pdu, key, rest))


def erasable_text_id(text: str) -> int | None:
    """Return the row of a text that may hold patient data; None for an empty one."""
    if not text:
        return None
    key = {"digest": digest(text)}
    return _intern(ErasableText, key, {"text": text})
