"""TCP that comes to nothing, or to something else than DICOM."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace

from sender.negotiation.outcomes import AssociationKind, Phase
from tests.misbehaviour.catalogue import ABORTED_BY_US, NEGOTIATING, Act, Group, Misbehaviour
from tests.misbehaviour.dialogue import Dialogue

REFUSED = replace(NEGOTIATING, kind=AssociationKind.TCP_FAILED, phase=Phase.CONNECT, says="refused")
NO_ANSWER = replace(REFUSED, says="no answer")


Opens = Callable[[], AbstractContextManager[int]]


@contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port on which nobody listens, so that nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """Listen with a backlog that is full: the system swallows further SYNs."""
    with ExitStack() as held:
        listening = held.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def connections() -> Iterator[Misbehaviour]:
    """Yield peers that speak first, and not DICOM; all else is in moments.py."""
    for name, banner in (
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        ("SMTP", b"220 mail.example ESMTP\r\n"),
        ("FTP", b"220 (vsFTPd 3.0.3)\r\n"),
        ("HL7", b"\x0bMSH|^~\\&|A|B|C|D\r\x1c\r"),
        ("telnet", b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23"),
        ("an A-ASSOCIATE-RQ", b"\x01\0\0\0\0\x44" + bytes(68)),
    ):
        yield Misbehaviour(f"{name} speaks first", Group.TCP, _speaking(banner), ABORTED_BY_US)


def _speaking(banner: bytes) -> Act:
    def act(dialogue: Dialogue) -> None:
        dialogue.send(banner)
        dialogue.drain()

    return act
