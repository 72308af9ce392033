"""Runs entries of the catalogue against our requestor, many at a time, as most of them wait."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

from sender.dicom.requestor import NetworkAssociation, NetworkRequestor, StoreRequest
from sender.negotiation.outcomes import AssociationOutcome, StoreOutcome
from sender.negotiation.peers import Peer, Timeouts, TlsSettings
from tests.misbehaviour.catalogue import CT, INSTANCES, Act, Misbehaviour
from tests.misbehaviour.dialogue import Dialogue
from tests.misbehaviour.sessions import Authority
from tests.scripted_acceptor import Script, acceptor

IMPATIENT = Timeouts(connect=1, tls=1, acse=1, progress=1, answer=1)
PATIENT = Timeouts(connect=10, tls=10, acse=10, progress=10, answer=10)
"""Shorter than a script's patience, so that a requestor that waits in vain is found out."""
AT_ONCE = 8


@dataclass(frozen=True)
class Observed:
    """What a requestor concluded, and what really happened.

    Attributes:
        dialogues: the acceptor's account.
        seconds: how long it all took.
    """

    outcome: AssociationOutcome
    stored: tuple[StoreOutcome, ...]
    dialogues: tuple[Dialogue, ...]
    seconds: float


def sop_instance(number: int) -> str:
    """Return the UID of one of the instances, from 1."""
    return f"1.2.826.0.1.{number}"


def observe(case: Misbehaviour, authority: Authority) -> Observed:
    """Associate with a misbehaving peer, store what the contexts allow, and release."""
    with listening(case, authority) as (port, dialogues):
        peer = Peer(
            "127.0.0.1",
            port,
            "PEER",
            timeouts=IMPATIENT if case.hangs else PATIENT,
            tls=TlsSettings(authority.ca_file) if case.asks_tls else None,
        )
        began = time.monotonic()
        association = NetworkRequestor().associate(peer, case.proposal)
        stored = tuple(_store_all(association, case))
        association.release()
        seconds = time.monotonic() - began
    for dialogue in dialogues:
        dialogue.received.clear()  # the account is enough, and there are many of them
    return Observed(association.outcome(), stored, tuple(dialogues), seconds)


@contextmanager
def listening(
    case: Misbehaviour, authority: Authority, *afterwards: Act
) -> Iterator[tuple[int, list[Dialogue]]]:
    """Let an entry listen; yield its port and what it has heard.

    Args:
        afterwards: what the acceptor does with the second connection and so on, the last of them
            again and again; none: the same as with the first.
    """
    scripts = [_as_script(act) for act in (case.act, *afterwards)]
    tls = authority.contexts[case.tls] if case.tls else None
    with acceptor(*scripts, tls=tls, kind=Dialogue, receive_buffer=case.receive_buffer) as running:
        yield running.port, cast(list[Dialogue], running.conversations)


def _as_script(act: Act) -> Script:
    return lambda conversation: act(cast(Dialogue, conversation))


def _store_all(association: NetworkAssociation, case: Misbehaviour) -> Iterator[StoreOutcome]:
    if not association.is_open or not association.contexts[0].is_usable:
        return
    data = zeros(case.size)
    requests = (StoreRequest(CT, sop_instance(n), 1, data) for n in range(1, INSTANCES + 1))
    for _, outcome in association.store_many(requests):
        yield outcome


@cache
def zeros(size: int) -> bytes:
    """Return what serves as a data set."""
    return bytes(size)


def observe_all(
    cases: Iterable[Misbehaviour], authority: Authority
) -> dict[str, Observed | BaseException]:
    """Observe many entries, some at a time; what an acceptor's script found wrong is kept."""

    def try_observing(case: Misbehaviour) -> Observed | BaseException:
        try:
            return observe(case, authority)
        except BaseException as error:
            return error

    chosen = list(cases)
    _ = authority.contexts, authority.ca_file
    waiting = [case for case in chosen if case.hangs]
    busy = [case for case in chosen if not case.hangs]
    with ThreadPoolExecutor(len(waiting) or 1) as patient, ThreadPoolExecutor(AT_ONCE) as quick:
        found = [
            *zip(waiting, patient.map(try_observing, waiting), strict=True),
            *zip(busy, quick.map(try_observing, busy), strict=True),
        ]
    return {case.id: seen for case, seen in found}


def through_tls(case: Misbehaviour) -> Misbehaviour:
    """Return an entry with all of it through TLS."""
    return replace(case, tls="good", asks_tls=True)
