"""Aborts, lost connections, noise and silence, each at each moment of an association."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sender.negotiation.outcomes import AssociationKind, Ended, InstanceOutcome, Phase
from tests.misbehaviour.catalogue import (
    INSTANCES,
    LARGE,
    NEGOTIATING,
    SENT,
    SMALL,
    UNKNOWN,
    Act,
    Expected,
    Group,
    Misbehaviour,
)
from tests.misbehaviour.dialogue import Dialogue
from tests.scripted_acceptor import RELEASE_RP, abort, fragment, response

NOISE = b"\xff" * 64
IN_THE_MIDDLE = 300_000
"""Bytes of a large data set that are read before something happens."""


@dataclass(frozen=True)
class Moment:
    """A point in an association, how the acceptor gets there, and what is known by then.

    Attributes:
        reach: act properly until that moment.
        instances: outcomes if it ends there.
        races: nobody can tell whether the requestor had begun the next request.
        is_whole: no PDU of ours is under way, so that a further one can be told from it.
    """

    name: str
    reach: Act
    phase: Phase = Phase.TRANSFER
    instances: tuple[InstanceOutcome, ...] = (UNKNOWN,)
    races: bool = False
    is_whole: bool = True
    size: int = SMALL

    @property
    def receive_buffer(self) -> int | None:
        return 1 << 16 if self.size == LARGE else None


def _connected(_: Dialogue) -> None:
    pass


def _proposed(dialogue: Dialogue) -> None:
    dialogue.read_proposal()


def _half_accepted(dialogue: Dialogue) -> None:
    dialogue.read_proposal()
    answer = dialogue.acceptance()
    dialogue.send(answer[: len(answer) // 2])


def _accepted(dialogue: Dialogue) -> None:
    dialogue.read_proposal()
    with dialogue.holding_back():
        dialogue.send(dialogue.acceptance())


def _commanded(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.read_command()


def _in_data(dialogue: Dialogue) -> None:
    _commanded(dialogue)
    dialogue.read_some(IN_THE_MIDDLE)


def _asked(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.read_request()


def _half_answered(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    asked = dialogue.read_request()
    answer = fragment(asked.context_id, response(asked))
    dialogue.send(answer[: len(answer) // 2])


def _one_fragment_answered(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    asked = dialogue.read_request()
    with dialogue.holding_back():
        dialogue.send(fragment(asked.context_id, response(asked)[:40], control=1))


def _answered_one(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    asked = dialogue.read_request()
    with dialogue.holding_back():
        dialogue.answer(asked)


def _asked_again(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.serve(1)
    dialogue.read_request()


def _asked_for_release(dialogue: Dialogue) -> None:
    dialogue.accept_all()
    dialogue.await_release()


def _half_released(dialogue: Dialogue) -> None:
    _asked_for_release(dialogue)
    dialogue.send(RELEASE_RP[:5])


ALL_SENT = (SENT,) * INSTANCES
MOMENTS = (
    Moment("after the connect", _connected, Phase.NEGOTIATION, ()),
    Moment("after the A-ASSOCIATE-RQ", _proposed, Phase.NEGOTIATION, ()),
    Moment("in the A-ASSOCIATE-AC", _half_accepted, Phase.NEGOTIATION, (), is_whole=False),
    Moment("after the A-ASSOCIATE-AC", _accepted, instances=(), races=True),
    Moment("after the command", _commanded),
    Moment("in the data set", _in_data, size=LARGE),
    Moment("after the C-STORE-RQ", _asked),
    Moment("in the answer", _half_answered, is_whole=False),
    Moment("after a fragment of the answer", _one_fragment_answered),
    Moment("after an answer", _answered_one, instances=(SENT,), races=True),
    Moment("after the second C-STORE-RQ", _asked_again, instances=(SENT, UNKNOWN)),
    Moment("after the A-RELEASE-RQ", _asked_for_release, Phase.RELEASE, ALL_SENT),
    Moment("in the A-RELEASE-RP", _half_released, Phase.RELEASE, ALL_SENT, is_whole=False),
)
_BY_NAME = {moment.name: moment for moment in MOMENTS}


def _then(reach: Act, deed: Act) -> Act:
    def act(dialogue: Dialogue) -> None:
        reach(dialogue)
        deed(dialogue)

    return act


def _expected(
    moment: Moment, kind: AssociationKind, *, abort: tuple[int, int] | None = None, says: str = ""
) -> Expected:
    """Lay what was done beside the moment at which it was done."""
    negotiating = moment.phase is Phase.NEGOTIATION
    return replace(
        NEGOTIATING,
        kind=kind if negotiating else AssociationKind.ESTABLISHED,
        ended=None if negotiating else _ENDED[kind],
        phase=moment.phase,
        instances=moment.instances,
        abort=abort,
        says=says,
    )


def _racing(moment: Moment, expected: Expected) -> Expected:
    """Allow for what a requestor may have done, or not, before a connection broke."""
    if moment.races:
        return replace(expected, or_else=replace(expected, instances=(*moment.instances, UNKNOWN)))
    return expected


def _reset(moment: Moment, expected: Expected) -> Expected:
    """Allow for a reset that comes while the system still tells us that we are connected."""
    if moment.reach is _connected:
        unconnected = replace(
            NEGOTIATING, kind=AssociationKind.CONNECTION_LOST, phase=Phase.CONNECT, says="reset"
        )
        return replace(expected, or_else=unconnected)
    return _racing(moment, expected)


_ENDED = {
    AssociationKind.ABORTED_BY_PEER: Ended.ABORTED_BY_PEER,
    AssociationKind.ABORTED_BY_US: Ended.ABORTED_BY_US,
    AssociationKind.CONNECTION_LOST: Ended.CONNECTION_LOST,
    AssociationKind.TIMED_OUT: Ended.TIMED_OUT,
}


def _say_abort(source: int, reason: int) -> Act:
    def deed(dialogue: Dialogue) -> None:
        dialogue.send(abort(source, reason))
        dialogue.drain()

    return deed


def _say_abort_and_reset(dialogue: Dialogue) -> None:
    dialogue.send(abort(2, 6))
    dialogue.reset()


def _say_abort_and_read_nothing(dialogue: Dialogue) -> None:
    dialogue.send(abort(2, 5))
    dialogue.stay_silent()


def _make_noise(dialogue: Dialogue) -> None:
    dialogue.send(NOISE)
    dialogue.stay_silent()


def _stay_silent(dialogue: Dialogue) -> None:
    dialogue.send(b"")
    dialogue.stay_silent()


def _read_on_in_silence(dialogue: Dialogue) -> None:
    dialogue.send(b"")
    dialogue.drain()


REASONS = [(2, reason) for reason in range(7)]
"""A-ABORT by the service provider, PS3.8 section 9.3.8, reserved reason 3 among them."""
ODD_ABORTS = [(0, 0), (0, 6), (1, 0), (1, 5), (2, 7), (2, 255), (3, 1), (255, 255)]


def aborts() -> Iterator[Misbehaviour]:
    """Yield A-ABORTs: the common ones at each moment, each pair of codes at three moments."""
    whole = [moment for moment in MOMENTS if moment.is_whole]
    pairs = {(moment.name, codes) for moment in whole for codes in ((0, 0), (2, 2))}
    for name in ("after the A-ASSOCIATE-RQ", "after the C-STORE-RQ", "after the A-RELEASE-RQ"):
        pairs |= {(name, codes) for codes in (*REASONS, *ODD_ABORTS)}
    for name, codes in sorted(pairs):
        moment = _BY_NAME[name]
        yield Misbehaviour(
            f"{codes[0]}/{codes[1]} {name}",
            Group.ABORT,
            _then(moment.reach, _say_abort(*codes)),
            _expected(moment, AssociationKind.ABORTED_BY_PEER, abort=codes, says="aborted"),
            size=moment.size,
            receive_buffer=moment.receive_buffer,
        )
    for moment in whole:
        for words, deed, codes in (
            ("and a reset", _say_abort_and_reset, (2, 6)),
            ("and nothing is read any more", _say_abort_and_read_nothing, (2, 5)),
        ):
            told = _expected(moment, AssociationKind.ABORTED_BY_PEER, abort=codes, says="aborted")
            yield Misbehaviour(
                f"an A-ABORT {words} {moment.name}",
                Group.ABORT,
                _then(moment.reach, deed),
                _reset(moment, told) if moment.reach is _connected else told,
                size=moment.size,
                receive_buffer=moment.receive_buffer,
            )


def losses() -> Iterator[Misbehaviour]:
    """Yield connections that are closed, or break, at each moment; and noise in their place."""
    for moment in MOMENTS:
        lost = _expected(moment, AssociationKind.CONNECTION_LOST)
        for words, deed, told in (
            ("closed", Dialogue.hang_up, _racing(moment, lost)),
            ("reset", Dialogue.reset, _reset(moment, lost)),
        ):
            yield Misbehaviour(
                f"{words} {moment.name}",
                Group.LOSS,
                _then(moment.reach, deed),
                told,
                size=moment.size,
                receive_buffer=moment.receive_buffer,
            )
        if moment.is_whole:
            yield Misbehaviour(
                f"noise {moment.name}",
                Group.LOSS,
                _then(moment.reach, _make_noise),
                _expected(moment, AssociationKind.ABORTED_BY_US),
                size=moment.size,
                receive_buffer=moment.receive_buffer,
            )


def hangs() -> Iterator[Misbehaviour]:
    """Yield peers that fall silent at each moment, reading on or not."""
    for moment in MOMENTS:
        begun = moment
        if moment.races:
            begun = replace(moment, instances=(*moment.instances, UNKNOWN), races=False)
        for words, deed in (
            ("silent", _stay_silent),
            ("silent, but reading,", _read_on_in_silence),
        ):
            yield Misbehaviour(
                f"{words} {moment.name}",
                Group.HANG,
                _then(moment.reach, deed),
                _expected(begun, AssociationKind.TIMED_OUT),
                hangs=True,
                size=moment.size,
                receive_buffer=moment.receive_buffer,
            )
