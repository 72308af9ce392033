"""Whole sends to misbehaving peers, through the command line: nothing lost, nothing falsely told.

One peer of each kind of the catalogue, wrong at every association, and no retries.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from sender.negotiation.outcomes import classify_status
from tests.misbehaviour.catalogue import INSTANCES, SMALL, Expected, Misbehaviour
from tests.misbehaviour.connections import NO_ANSWER, REFUSED, Opens, black_hole, closed_port
from tests.misbehaviour.destinations import IMPATIENT, PATIENT, TEMPLATE, destination
from tests.misbehaviour.dialogue import Dialogue, account
from tests.misbehaviour.everything import BY_ID
from tests.misbehaviour.observing import listening, sop_instance
from tests.misbehaviour.sessions import Authority
from tests.misbehaviour.shell import Row, SendResult, Shell

pytestmark = pytest.mark.slow
REPRESENTATIVES = (
    "tcp: SSH speaks first",
    "reject: 1/1/3", "reject: 2/3/2", "reject: 2/3/7", "reject: 255/255/255",
    "reject: without codes", "reject: and a reset",
    "accept: everything rejected", "accept: CT: CT left out", "accept: CT: result 255",
    "accept: CT: a syntax never proposed", "accept: CT: no syntax", "accept: CT: an even id",
    "accept: CT: a syntax that is no text", "accept: CT: two different syntaxes",
    "accept: CT: a syntax of 60 000 bytes", "accept: CT: 126 further ids",
    "accept: CT: accepted, then rejected", "accept: no user information",
    "accept: a version in UTF-8 with control characters", "accept: another application context",
    "accept: a context beyond the end", "accept: 4 GiB", "accept: HTTP",
    "accept: dripping without end", "accept: accepted, then accepted twice",
    "abort: 0/0 after the A-ASSOCIATE-RQ", "abort: 2/2 after the A-ASSOCIATE-AC",
    "abort: 2/6 after the C-STORE-RQ", "abort: 0/0 after an answer", "abort: 255/255 after the "
    "A-RELEASE-RQ", "abort: an A-ABORT and a reset in the data set",
    "loss: closed after the connect", "loss: reset in the A-ASSOCIATE-AC",
    "loss: closed after the second C-STORE-RQ", "loss: reset in the data set",
    "loss: noise after an answer", "loss: reset after the A-RELEASE-RQ",
    "hang: silent after the connect", "hang: silent after the A-ASSOCIATE-AC",
    "hang: silent in the data set", "hang: silent after the C-STORE-RQ",
    "hang: silent after the A-RELEASE-RQ",
    "answer: message ID of the request before", "answer: command field C-ECHO-RSP",
    "answer: another SOP instance", "answer: no status", "answer: pending",
    "answer: in another accepted context", "answer: a data set announced and sent",
    "answer: a command of 100 000 bytes", "answer: twice", "answer: in fragments of one byte",
    "answer: never the last fragment", "answer: 0000 before the data set, which is never read",
    "status: B007, offending element 300", "status: 0107", "status: A700", "status: 0122",
    "status: C000, comment with control characters", "status: C000, comment 4 KB",
    "status: C000, comment a formula", "status: FFFF",
    "release: an A-RELEASE-RQ after an answer", "release: a collision as the standard has it",
    "release: noise for the A-RELEASE-RP",
    "size: at most 6", "size: at most 127", "size: at most 0",
    "tls: good", "tls: expired", "tls: noise", "tls: silence",
    "tls: TLS ended in order in the middle",
)  # fmt: skip


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_send_tells_the_truth(
    name: str, shell: Shell, authority: Authority, folder: Path, large_folder: Path
) -> None:
    case = BY_ID[name]
    source = folder if case.size == SMALL else large_folder
    options = {"tls": True, "tls_ca": authority.ca_file} if case.asks_tls else {}
    patience = IMPATIENT if case.hangs else PATIENT
    with listening(case, authority) as (port, dialogues):
        to = destination(shell, port, patience=patience, **options)
        result = shell.send(source, to=to, template=TEMPLATE, retries=0)
    check_accounts(result, dialogues)
    check_history(case, result)
    for row in result.rows:
        check_reason(case.expected, row)


def check_accounts(result: SendResult, dialogues: Sequence[Dialogue]) -> None:
    """Compare what is told of every instance with what the acceptor knows of it."""
    expected = [sop_instance(number) for number in range(1, INSTANCES + 1)]
    assert sorted(row.iuid for row in result.rows) == expected
    counts = Counter(row.outcome for row in result.rows)
    told = result.document["instances"]
    assert {word: number for word, number in told.items() if number} == counts
    assert counts["pending"] == 0
    done = counts["sent"] + counts["warning"]
    state = "succeeded" if done == INSTANCES else "partial" if done else "failed"
    assert (result.document["state"], result.code) == (state, int(state != "succeeded"))
    assert result.document["associations"] == len(result.history)
    answered = account(dialogues)
    for row in result.rows:
        check_row(row, answered.get(row.iuid, []))


def check_row(row: Row, statuses: list[int | None]) -> None:
    """Compare one instance with the answers that it got; None is one not to be trusted."""
    trusted = [status for status in statuses if status is not None]
    if trusted:
        told = (row.outcome, row.status)
        assert told == (classify_status(trusted[-1]), f"{trusted[-1]:04X}"), "under-reported"
    else:
        assert row.outcome in ("unknown", "failed", "unsendable")
        assert row.status == ""
    if row.outcome in ("failed", "unsendable") and not trusted:
        assert not statuses, "called failed, though the peer may have stored it"
    if row.outcome == "unknown":
        assert row.attempts > 0
    assert bool(row.reason) == (row.outcome != "sent")


def check_history(case: Misbehaviour, result: SendResult) -> None:
    """The first association is on record as what it was."""
    first, expected = result.history[0], case.expected
    other = expected.or_else
    if other and (first["outcome"], first["phase"]) == (other.kind, other.phase):
        expected = other
    found = (first["outcome"], first["ended"], first["phase"])
    assert found == (expected.kind, expected.ended, expected.phase), first["detail"]
    assert expected.says in first["detail"]
    assert first["detail"].isprintable()
    assert all(str(value).isprintable() for value in first["peer"].values())
    rejection, abort = expected.rejection, expected.abort
    assert first["reject"] == (
        rejection and dict(zip(("result", "source", "reason"), rejection, strict=True))
    )
    assert first["abort"] == (abort and dict(zip(("source", "reason"), abort, strict=True)))
    if expected.first_context is not None:
        result_byte, verdict = expected.first_context
        context = first["contexts"][0]
        assert list(context["verdicts"].values()) == [verdict]
        byte = result_byte if result_byte is None or result_byte <= 4 else None
        assert context["result"] == byte


def check_reason(expected: Expected, row: Row) -> None:
    """Whoever reads the reason knows the codes, and no page or sheet breaks by it."""
    assert row.reason.isprintable()
    assert not row.reason.startswith(("=", "+", "-", "@"))
    if row.outcome == "failed" and expected.rejection:
        assert "/".join(map(str, expected.rejection)) in row.reason
    if row.outcome in ("failed", "unknown") and expected.abort and not expected.is_in_order:
        assert "/".join(map(str, expected.abort)) in row.reason
    if row.status not in ("", "0000"):
        assert row.status in row.reason


@pytest.mark.parametrize(
    ("opens", "expected"), [(closed_port, REFUSED), (black_hole, NO_ANSWER)], ids=["no", "full"]
)
def test_a_port_that_does_not_listen_or_not_to_us(
    opens: Opens, expected: Expected, shell: Shell, folder: Path
) -> None:
    with opens() as port:
        to = destination(shell, port, patience=IMPATIENT)
        result = shell.send(folder, to=to, retries=0)
    check_accounts(result, [])
    assert result.history[0]["outcome"] == expected.kind
    assert result.history[0]["phase"] == expected.phase
    assert all(expected.says in row.reason for row in result.rows)


@pytest.mark.parametrize("name", ["status: C000, comment plain", "status: C000, comment 4 KB"])
def test_the_reason_gives_the_peers_own_words(
    name: str, shell: Shell, authority: Authority, folder: Path
) -> None:
    with listening(BY_ID[name], authority) as (port, _):
        result = shell.send(folder, to=destination(shell, port), retries=0)
    assert all("Disk full" in row.reason for row in result.rows)
