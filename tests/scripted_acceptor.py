"""An acceptor that misbehaves as a test scripts it: plain sockets, bytes made by hand.

A script is a function that gets a Conversation per connection. What goes wrong in the script
itself fails the test; that the requestor hangs up on it is no fault of the script.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.acceptance import acceptance_pdu

RELEASE_RQ = bytes.fromhex("05 00 00000004 00000000")
RELEASE_RP = bytes.fromhex("06 00 00000004 00000000")
PATIENCE_SECONDS = 20.0


def rejection(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ."""
    return struct.pack(">BBIBBBB", 3, 0, 4, 0, result, source, reason)


def abort(source: int = 0, reason: int = 0) -> bytes:
    """Return an A-ABORT."""
    return struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, source, reason)


def element(number: int, value: bytes) -> bytes:
    """Return an element of a command set."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def command_set(elements: bytes) -> bytes:
    """Return a command set with its group length."""
    return element(0, struct.pack("<I", len(elements))) + elements


def fragment(context_id: int, content: bytes, *, control: int = 3) -> bytes:
    """Return a P-DATA-TF with one fragment; control 3 is the last one of a command."""
    item = struct.pack(">IBB", len(content) + 2, context_id, control) + content
    return struct.pack(">BBI", 4, 0, len(item)) + item


@dataclass
class Request:
    """A request that was read: the elements of its command set, and its data set.

    Attributes:
        length: of the data set, also where its bytes were not kept.
    """

    context_id: int
    command: dict[int, bytes]
    data: bytes
    length: int = 0

    def number(self, tag: int) -> int:
        """Return an element as a number."""
        return int.from_bytes(self.command[tag], "little")

    def text(self, tag: int) -> str:
        """Return an element as text."""
        return self.command[tag].rstrip(b"\0 ").decode("ascii")


def response(
    request: Request, status: int | None = 0, **changes: bytes | int | str | None
) -> bytes:
    """Return a C-STORE-RSP (or C-ECHO-RSP) command set; `None` leaves an element out.

    Args:
        changes: command, message_id, sop_class, sop_instance, data_set_type, comment, offending.
    """
    values: dict[str, bytes | int | str | None] = {
        "sop_class": request.command.get(0x0002),
        "command": request.number(0x0100) | 0x8000,
        "message_id": request.number(0x0110),
        "data_set_type": 0x0101,
        "status": status,
        "offending": None,
        "comment": None,
        "sop_instance": request.command.get(0x1000),
        **changes,
    }
    tags = {
        "sop_class": 0x0002, "command": 0x0100, "message_id": 0x0120, "data_set_type": 0x0800,
        "status": 0x0900, "offending": 0x0901, "comment": 0x0902, "sop_instance": 0x1000,
    }  # fmt: skip
    elements = b""
    for name, tag in tags.items():
        value = values[name]
        if isinstance(value, int):
            value = struct.pack("<H", value)
        elif isinstance(value, str):
            value = value.encode("ascii")
        if value is not None:
            elements += element(tag, value)
    return command_set(elements)


@dataclass
class Conversation:
    """One connection, as the script sees it.

    Attributes:
        unread: what a script took from the connection by itself and wants read as PDUs yet.
    """

    connection: socket.socket
    ended: threading.Event
    received: list[bytes] = field(default_factory=list)
    unread: bytes = b""

    def read_pdu(self) -> bytes:
        """Read one PDU whole."""
        header = self._read(6)
        pdu = header + self._read(int.from_bytes(header[2:6], "big"))
        self.received.append(pdu)
        return pdu

    def _read(self, length: int) -> bytes:
        content = bytearray(length)
        early, self.unread = self.unread[:length], self.unread[length:]
        content[: len(early)] = early
        left = memoryview(content)[len(early) :]
        while left:
            count = self.connection.recv_into(left)
            if not count:
                raise ConnectionResetError("the requestor closed the connection")
            left = left[count:]
        return bytes(content)

    def send(self, content: bytes) -> None:
        """Send bytes."""
        self.connection.sendall(content)

    def accept(
        self,
        contexts: Sequence[tuple[int, int, str | None]],
        *,
        information: bytes | None = None,
    ) -> None:
        """Read the proposal and answer it."""
        self.read_pdu()
        self.send(acceptance_pdu(contexts, information=information))

    def read_request(self, *, keep: bool = True) -> Request:
        """Read a whole message: command and, if it announces one, data set.

        Args:
            keep: the data, and the PDUs that they came in.
        """
        message = _Message()
        while not message.is_whole:
            pdu = self.read_pdu()
            if pdu[0] != 4:
                raise ConnectionResetError(f"the requestor sent a PDU of type {pdu[0]}")
            message.take(pdu, keep=keep)
            if not keep:
                self.received.clear()
        return message.request()

    def answer(
        self, request: Request, status: int | None = 0, **changes: bytes | int | str | None
    ) -> None:
        """Answer a request in its context."""
        self.send(fragment(request.context_id, response(request, status, **changes)))

    def finish(self) -> None:
        """Join in the release."""
        pdu = self.read_pdu()
        if pdu[0] == 5:
            self.send(RELEASE_RP)

    def reset(self) -> None:
        """Close the connection with a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def stay_silent(self) -> None:
        """Keep the connection open, saying and reading nothing, until the test ends."""
        self.ended.wait(PATIENCE_SECONDS)


@dataclass
class _Message:
    """A message of which PDU after PDU comes in."""

    context_id: int = 0
    command: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)  # bytes would be copied with every PDU
    length: int = 0
    is_whole: bool = False

    def take(self, pdu: bytes, *, keep: bool) -> None:
        """Take in the fragments of a P-DATA-TF."""
        position = 6
        while position < len(pdu):
            end = position + 4 + int.from_bytes(pdu[position : position + 4], "big")
            self.context_id, control = pdu[position + 4], pdu[position + 5]
            content = pdu[position + 6 : end]
            if control & 1:
                self.command += content
                self.is_whole = control == 3 and _parse(bytes(self.command))[0x0800] == b"\x01\x01"
            else:
                self.data += content if keep else b""
                self.length += len(content)
                self.is_whole = control == 2
            position = end

    def request(self) -> Request:
        command = _parse(bytes(self.command))
        return Request(self.context_id, command, bytes(self.data), self.length)


def _parse(command: bytes) -> dict[int, bytes]:
    found, position = {}, 0
    while position < len(command):
        _, number, length = struct.unpack_from("<HHI", command, position)
        found[number] = command[position + 8 : position + 8 + length]
        position += 8 + length
    return found


Script = Callable[[Conversation], None]


@dataclass
class ScriptedAcceptor:
    """A listening acceptor: its port, and the conversations that it had."""

    port: int
    conversations: list[Conversation] = field(default_factory=list)


@dataclass
class _Listener:
    """Takes connections and runs a script for each."""

    listening: socket.socket
    scripts: Sequence[Script]
    running: ScriptedAcceptor
    tls: ssl.SSLContext | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    faults: list[BaseException] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def listen(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self.listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation = Conversation(connection, self.ended)
        script = self.scripts[min(len(self.running.conversations), len(self.scripts) - 1)]
        self.running.conversations.append(conversation)
        thread = threading.Thread(target=self._converse, args=(conversation, script), daemon=True)
        thread.start()
        self.threads.append(thread)

    def _converse(self, conversation: Conversation, script: Script) -> None:
        try:
            if self.tls is not None:
                conversation.connection = self.tls.wrap_socket(
                    conversation.connection, server_side=True
                )
            script(conversation)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            return  # the requestor has had enough, which many tests are about
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            conversation.connection.close()


@contextmanager
def acceptor(
    *scripts: Script, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None
) -> Iterator[ScriptedAcceptor]:
    """Listen; each connection runs the next script, the last one again and again.

    Args:
        receive_buffer: bytes that the acceptor's system takes before the script reads them.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    if receive_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listening.settimeout(0.1)
    listener = _Listener(listening, scripts, ScriptedAcceptor(listening.getsockname()[1]), tls)
    thread = threading.Thread(target=listener.listen, daemon=True)
    thread.start()
    try:
        yield listener.running
    finally:
        listener.ended.set()
        thread.join(5)
        listening.close()
        for conversing in listener.threads:
            conversing.join(5)
        if listener.faults:
            raise listener.faults[0]
