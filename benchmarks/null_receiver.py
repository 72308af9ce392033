"""A receiver that accepts everything and keeps nothing, as fast as Python can: for benchmarks.

Run `python benchmarks/null_receiver.py PORT [MAXIMUM_LENGTH]`. It answers each C-STORE with 0000
when the last fragment of its data set has come, and reads nothing of the data.
"""

import socket
import struct
import sys
import threading

RELEASE_RQ, P_DATA, ASSOCIATE_RQ = 5, 4, 1
RELEASE_RP = bytes.fromhex("06 00 00000004 00000000")
MAXIMUM_LENGTH = int(sys.argv[2]) if len(sys.argv) > 2 else 16384
"""What we say that we receive; DCMTK's receivers say 16384 too."""


def item(kind: int, content: bytes) -> bytes:
    """Return one item of an A-ASSOCIATE-AC (PS3.8 section 9.3.3)."""
    return struct.pack(">BBH", kind, 0, len(content)) + content


def accept(request: bytes) -> bytes:
    """Return an A-ASSOCIATE-AC that accepts each context with its first transfer syntax."""
    answers, position = b"", 74
    while position < len(request):
        kind, _, length = struct.unpack_from(">BBH", request, position)
        content = request[position + 4 : position + 4 + length]
        if kind == 0x20:
            answers += item(0x21, bytes((content[0], 0, 0, 0)) + item(0x40, first_syntax(content)))
        position += 4 + length
    user = item(0x50, item(0x51, struct.pack(">I", MAXIMUM_LENGTH)) + item(0x52, b"1.2.3"))
    body = request[6:74] + item(0x10, b"1.2.840.10008.3.1.1.1") + answers + user
    return struct.pack(">BBI", 2, 0, len(body)) + body


def first_syntax(context: bytes) -> bytes:
    """Return the first transfer syntax of a presentation context item."""
    position = 4
    while True:
        kind, _, length = struct.unpack_from(">BBH", context, position)
        if kind == 0x40:
            return context[position + 4 : position + 4 + length]
        position += 4 + length


def respond(context_id: int, command: bytes) -> bytes:
    """Return the P-DATA-TF with the C-STORE-RSP (or C-ECHO-RSP) to a command set."""
    found, position = {}, 0
    while position < len(command):
        _, number, length = struct.unpack_from("<HHI", command, position)
        found[number] = command[position + 8 : position + 8 + length]
        position += 8 + length

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    kind = struct.unpack("<H", found[0x0100])[0] | 0x8000
    elements = (
        element(0x0002, found[0x0002])
        + element(0x0100, struct.pack("<H", kind))
        + element(0x0120, found[0x0110])
        + element(0x0800, b"\x01\x01")
        + element(0x0900, b"\0\0")
        + (element(0x1000, found[0x1000]) if 0x1000 in found else b"")
    )
    whole = element(0, struct.pack("<I", len(elements))) + elements
    fragment = struct.pack(">IBB", len(whole) + 2, context_id, 3) + whole
    return struct.pack(">BBI", P_DATA, 0, len(fragment)) + fragment


class Conversation:
    """One association."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(MAXIMUM_LENGTH + 64)
        self._command = b""

    def serve(self) -> None:
        """Answer until the requestor is done."""
        view = memoryview(self._buffer)
        while self._fill(view[:6]):
            kind, _, length = struct.unpack_from(">BBI", self._buffer)
            if length > len(self._buffer):
                self._buffer = bytearray(length)
                view = memoryview(self._buffer)
            if not self._fill(view[:length]):
                return
            if kind == P_DATA:
                self._take(view[:length])
            elif kind == ASSOCIATE_RQ:
                head = struct.pack(">BBI", kind, 0, length)
                self._connection.sendall(accept(head + bytes(view[:length])))
            elif kind == RELEASE_RQ:
                self._connection.sendall(RELEASE_RP)
                return
            else:
                return

    def _fill(self, view: memoryview) -> bool:
        while view:
            count = self._connection.recv_into(view)
            if not count:
                return False
            view = view[count:]
        return True

    def _take(self, pdu: memoryview) -> None:
        position = 0
        while position < len(pdu):
            length, context_id, control = struct.unpack_from(">IBB", pdu, position)
            if control & 1:
                self._command += bytes(pdu[position + 6 : position + 4 + length])
            is_echo = control == 3 and b"\x00\x00\x00\x08\x02\x00\x00\x00\x01\x01" in self._command
            if control == 2 or is_echo:
                self._connection.sendall(respond(context_id, self._command))
                self._command = b""
            position += 4 + length


def serve(connection: socket.socket) -> None:
    """Serve one connection to its end."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        Conversation(connection).serve()


def main() -> None:
    """Listen until killed."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
