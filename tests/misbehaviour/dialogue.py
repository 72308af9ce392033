"""One association as a misbehaving acceptor sees it: what it keeps account of, and how it acts.

The account is the acceptor's own truth: which instances it read whole, and which of them it
answered in a way that a requestor may trust. Whatever the product says is compared with it.
"""

import hashlib
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.acceptance import acceptance_pdu
from tests.scripted_acceptor import (
    RELEASE_RP,
    RELEASE_RQ,
    Conversation,
    Request,
    fragment,
    parse_command,
    response,
)

DATA_SET_FOLLOWS = b"\x01\x00"
_HARMLESS = frozenset({"comment", "offending"})
_OPTIONAL = frozenset({"sop_class", "sop_instance", "data_set_type"})
_PENDING = frozenset({0xFF00, 0xFF01})


@dataclass(frozen=True, slots=True)
class Offer:
    """A presentation context as proposed."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


def read_offers(request: bytes) -> tuple[Offer, ...]:
    """Return the presentation contexts of a whole A-ASSOCIATE-RQ, PS3.8 section 9.3.2."""
    return tuple(
        Offer(
            content[0],
            next(_text(value) for kind, value in items(content[4:]) if kind == 0x30),
            tuple(_text(value) for kind, value in items(content[4:]) if kind == 0x40),
        )
        for kind, content in items(request[74:])
        if kind == 0x20
    )


def items(content: bytes) -> Iterable[tuple[int, bytes]]:
    """Yield the items of a PDU, or the sub-items of an item, with their types."""
    position = 0
    while position < len(content):
        kind, length = struct.unpack_from(">BxH", content, position)
        yield kind, content[position + 4 : position + 4 + length]
        position += 4 + length


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii")


@dataclass
class Reception:
    """A C-STORE request that was read whole, and the trustworthy answer that it got, if any."""

    sop_instance: str
    message_id: int
    digest: str
    size: int
    status: int | None = None


@dataclass
class Dialogue(Conversation):
    """A conversation that can do wrong on purpose and keeps account of what is true.

    Attributes:
        proposal: the contexts of the A-ASSOCIATE-RQ, once it was read.
        receptions: the C-STORE requests read whole, in order.
        released: the requestor asked for the release.
        has_asked: the acceptor did.
    """

    proposal: tuple[Offer, ...] = ()
    receptions: list[Reception] = field(default_factory=list)
    released: bool = False
    has_asked: bool = False
    _held: bytes = b""
    _is_holding: bool = False

    # Negotiation

    def read_proposal(self) -> tuple[Offer, ...]:
        """Read the A-ASSOCIATE-RQ."""
        self.proposal = read_offers(self.read_pdu())
        return self.proposal

    def acceptance(self, information: bytes | None = None) -> bytes:
        """Return the A-ASSOCIATE-AC that accepts each context in its first transfer syntax."""
        answers = [(o.context_id, 0, o.transfer_syntaxes[0]) for o in self.proposal]
        return acceptance_pdu(answers, information=information)

    def accept_all(self, information: bytes | None = None) -> None:
        """Read the proposal and accept all of it."""
        self.read_proposal()
        self.send(self.acceptance(information))

    # Requests and answers

    def read_request(self, *, keep: bool = True) -> Request:
        """Read a whole request, and put it on the account if it is a C-STORE."""
        try:
            request = super().read_request(keep=keep)
        except ConnectionResetError:
            self.released = self.received[-1][0] == 5
            raise
        if request.number(0x0100) == 1:
            self._take_down(request, request.data)
        return request

    def _take_down(self, request: Request, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        self.receptions.append(
            Reception(request.text(0x1000), request.number(0x0110), digest, len(data))
        )

    def read_command(self) -> Request:
        """Read the command of a request and leave its data set where it is.

        Raises:
            AssertionError: the command does not fill its PDUs, so that there is no border.
        """
        elements = b""
        while True:
            pdu = self.read_pdu()
            if pdu[0] != 4:
                raise ConnectionResetError(f"the requestor sent a PDU of type {pdu[0]}")
            length = int.from_bytes(pdu[6:10], "big")
            assert (length, pdu[11] & 1) == (len(pdu) - 10, 1), "one fragment of a command"
            elements += pdu[12:]
            if pdu[11] & 2:
                return Request(pdu[10], parse_command(elements), b"")

    def read_data_set(self, request: Request) -> None:
        """Read the data set that follows a command, PDU by PDU of one fragment each."""
        data = bytearray()
        while True:
            pdu = self.read_pdu()
            if pdu[0] != 4:
                raise ConnectionResetError(f"the requestor sent a PDU of type {pdu[0]}")
            data += pdu[12:]
            if pdu[11] & 2:
                return self._take_down(request, bytes(data))

    def read_some(self, count: int) -> None:
        """Read some bytes of whatever is under way."""
        self._read(count)

    def answer(
        self, request: Request, status: int | None = 0, **changes: bytes | int | str | None
    ) -> None:
        """Answer a request in its context; on the account only if that can be trusted."""
        self.send(fragment(request.context_id, response(request, status, **changes)))
        wrong = {
            name
            for name, value in changes.items()
            if name not in _HARMLESS and not (name in _OPTIONAL and value is None)
        }
        if not wrong and status is not None and status not in _PENDING:
            self.acknowledged(request, status)

    def acknowledged(self, request: Request, status: int = 0) -> None:
        """Put on the account that a request was answered in a way that can be trusted."""
        for reception in self.receptions:
            if reception.message_id == request.number(0x0110):
                reception.status = status

    def serve(self, count: int | None = None, *, status: int = 0) -> None:
        """Answer so many requests; without a number all, and the release too."""
        while count is None or count > 0:
            try:
                request = self.read_request()
            except ConnectionResetError:
                if self.released and count is None:
                    self.send(RELEASE_RP)
                    return
                raise
            self.answer(request, status)
            count = None if count is None else count - 1

    def await_release(self) -> None:
        """Answer all requests with 0000, and read the A-RELEASE-RQ."""
        while True:
            try:
                request = self.read_request()
            except ConnectionResetError:
                if self.released:
                    return
                raise
            self.answer(request)

    # What goes out

    @contextmanager
    def holding_back(self) -> Iterator[None]:
        """Keep what is sent within the block back, until something is sent after it."""
        self._is_holding = True
        try:
            yield
        finally:
            self._is_holding = False

    def send(self, content: bytes) -> None:
        """Send bytes, together with what was held back."""
        self._held += content
        if not self._is_holding:
            content, self._held = self._held, b""
            super().send(content)

    def drip(self, content: bytes, *, size: int = 1, pause: float = 0.0) -> None:
        """Send bytes a few at a time, until the test ends."""
        for start in range(0, len(content), size):
            self.send(content[start : start + size])
            if pause and self.ended.wait(pause):
                return

    # Ends

    def hang_up(self) -> None:
        """Close in order (FIN), and read on until the requestor has closed too."""
        self.send(b"")
        self.connection.shutdown(socket.SHUT_WR)
        self.drain()

    def drain(self) -> None:
        """Read and forget, until the requestor closes."""
        while self.connection.recv(1 << 20):
            pass

    def see_out(self) -> None:
        """Join in a release, of whoever's asking, and read on until the requestor closes."""
        is_asked = False
        while kind := self.read_pdu()[0]:
            if kind == 5:
                is_asked = True
            if is_asked and kind == (6 if self.has_asked else 5):
                self.send(RELEASE_RP)

    def ask_for_release(self) -> None:
        """Say A-RELEASE-RQ."""
        self.has_asked = True
        self.send(RELEASE_RQ)

    def reset(self) -> None:
        """Close with a RST."""
        self.send(b"")
        super().reset()


def account(dialogues: Sequence[Dialogue]) -> dict[str, list[int | None]]:
    """Return the answers of all associations by SOP Instance UID; None: none to be trusted."""
    found: dict[str, list[int | None]] = {}
    for dialogue in dialogues:
        for reception in dialogue.receptions:
            found.setdefault(reception.sop_instance, []).append(reception.status)
    return found
