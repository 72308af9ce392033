"""A receiver that accepts everything and keeps nothing, so that only the sender is measured.

Run `python benchmarks/null_receiver.py PORT [MAXIMUM_LENGTH]`. It answers each C-STORE with 0000
when the last fragment of its data set has come, and looks at nothing but the headers of fragments.
Each association has a process of its own, so that none waits for another. SIGTERM makes it print
how many C-STOREs it has answered.
"""

import contextlib
import mmap
import os
import signal
import socket
import struct
import sys
from types import FrameType

DCMTK_MAXIMUM_LENGTH = 16384
BUFFER = 1 << 18
"""Page-aligned: a copy to 16 bytes past a page, where malloc puts large buffers, takes twice as
long, for the processor sees each load depend on a store 4096 bytes away."""
MOST_CONNECTIONS = 8192
RELEASE_RQ, P_DATA, ASSOCIATE_AC, ASSOCIATE_RQ = 5, 4, 2, 1
RELEASE_RP = bytes.fromhex("06 00 00000004 00000000")
COMMAND, LAST = 1, 2
HEADERS = struct.Struct(">BBIIBB")
"""The header of a PDU and of the first fragment in it (PS3.8 section 9.3.5)."""
FRAGMENT = struct.Struct(">IBB")
ELEMENT = struct.Struct("<HHI")
COMMAND_FIELD, DATA_SET_TYPE = 0x0100, 0x0800
NO_DATA_SET = b"\x01\x01"
NO_DATA_SET_AND_SUCCESS = bytes.fromhex("0000 0008 02000000 0101  0000 0009 02000000 0000")


def item(kind: int, content: bytes) -> bytes:
    """Return one item of an A-ASSOCIATE-AC (PS3.8 section 9.3.3)."""
    return struct.pack(">BBH", kind, 0, len(content)) + content


def accept(request: bytes, maximum_length: int) -> bytes:
    """Return an A-ASSOCIATE-AC that accepts each context with its first transfer syntax."""
    answers, position = b"", 74
    while position < len(request):
        kind, _, length = struct.unpack_from(">BBH", request, position)
        content = request[position + 4 : position + 4 + length]
        if kind == 0x20:
            answers += item(0x21, bytes((content[0], 0, 0, 0)) + item(0x40, first_syntax(content)))
        position += 4 + length
    user = item(0x50, item(0x51, struct.pack(">I", maximum_length)) + item(0x52, b"1.2.3"))
    body = request[6:74] + item(0x10, b"1.2.840.10008.3.1.1.1") + answers + user
    return struct.pack(">BBI", ASSOCIATE_AC, 0, len(body)) + body


def first_syntax(context: bytes) -> bytes:
    """Return the first transfer syntax of a presentation context item."""
    position = 4
    while True:
        kind, _, length = struct.unpack_from(">BBH", context, position)
        if kind == 0x40:
            return context[position + 4 : position + 4 + length]
        position += 4 + length


def elements(command: bytes) -> dict[int, bytes]:
    """Return the elements of a command set by number (PS3.7 section 6.3.1)."""
    found, position, end = {}, 0, len(command)
    while position < end:
        _, number, length = ELEMENT.unpack_from(command, position)
        position += 8 + length
        found[number] = command[position - length : position]
    return found


def element(number: int, value: bytes) -> bytes:
    """Return one element of a command set."""
    return ELEMENT.pack(0, number, len(value)) + value


def response(context_id: int, asked: dict[int, bytes]) -> bytes:
    """Return the P-DATA-TF with the C-STORE-RSP or C-ECHO-RSP to a command."""
    kind = asked[COMMAND_FIELD]
    told = (
        element(0x0002, asked[0x0002])
        + element(COMMAND_FIELD, bytes((kind[0], kind[1] | 0x80)))
        + element(0x0120, asked[0x0110])
        + NO_DATA_SET_AND_SUCCESS
        + (element(0x1000, asked[0x1000]) if 0x1000 in asked else b"")
    )
    whole = element(0, len(told).to_bytes(4, "little")) + told
    length = len(whole)
    return HEADERS.pack(P_DATA, 0, length + 6, length + 2, context_id, COMMAND | LAST) + whole


class Gone(Exception):
    """The requestor has closed the connection."""


class Conversation:
    """One association, read through one large buffer."""

    def __init__(self, connection: socket.socket, maximum_length: int, counter: memoryview) -> None:
        self._connection = connection
        self._maximum_length = maximum_length
        self._counter = counter
        self._buffer = mmap.mmap(-1, BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._command = self._answer = b""

    def serve(self) -> None:
        """Answer until the requestor is done."""
        with contextlib.suppress(Gone, ConnectionError):
            while True:
                self._need(6)
                kind, _, length = struct.unpack_from(">BBI", self._buffer, self._start)
                if kind == P_DATA:
                    self._take_data(length)
                elif kind == ASSOCIATE_RQ:
                    self._connection.sendall(accept(self._take(6 + length), self._maximum_length))
                elif kind == RELEASE_RQ:
                    self._connection.sendall(RELEASE_RP)
                    return
                else:
                    return

    def _need(self, count: int) -> None:
        """Have `count` bytes at the start of the buffer; `count` is at most its length."""
        left = self._end - self._start
        if left >= count:
            return
        self._buffer[:left] = self._buffer[self._start : self._end]
        self._start, self._end = 0, left
        while self._end < count:
            self._end += self._receive(self._view[self._end :])

    def _receive(self, room: memoryview) -> int:
        received = self._connection.recv_into(room)
        if not received:
            raise Gone
        return received

    def _take(self, count: int) -> bytes:
        self._need(count)
        taken = bytes(self._view[self._start : self._start + count])
        self._skip(count)
        return taken

    def _skip(self, count: int) -> None:
        """Pass over bytes that have come or are to come, without keeping them."""
        missing = count - (self._end - self._start)
        if missing <= 0:
            self._start += count
            return
        self._start = self._end = 0
        while missing > 0:
            received = self._receive(self._view)
            if received > missing:
                self._start, self._end = missing, received
            missing -= received

    def _take_data(self, length: int) -> None:
        """Take one P-DATA-TF and those like it that have come with it."""
        self._need(HEADERS.size)
        header = bytes(self._view[self._start : self._start + HEADERS.size])
        _, _, _, fragment, context_id, control = HEADERS.unpack(header)
        if control == 0 and fragment + 4 == length:
            self._skip_alike(header, length + 6)
            return
        self._skip(6)
        while length:
            fragment, context_id, control = FRAGMENT.unpack(self._take(FRAGMENT.size))
            length -= fragment + 4
            if control & COMMAND:
                self._command += self._take(fragment - 2)
                if control & LAST:
                    self._end_command(context_id)
            else:
                self._skip(fragment - 2)
                if control & LAST:
                    self._connection.sendall(self._answer)
                    self._counter[0] += 1

    def _skip_alike(self, header: bytes, stride: int) -> None:
        """Skip whole PDUs with one and the same header: the middle of a data set."""
        find, position, end = self._buffer.find, self._start, self._end - stride
        while position <= end and find(header, position, position + HEADERS.size) == position:
            position += stride
        if position == self._start:
            self._skip(stride)
        else:
            self._start = position

    def _end_command(self, context_id: int) -> None:
        """Have the answer ready; give it at once if no data set follows."""
        asked = elements(self._command)
        self._command = b""
        self._answer = response(context_id, asked)
        if asked[DATA_SET_TYPE] == NO_DATA_SET:
            self._connection.sendall(self._answer)


class Listener:
    """Accepts connections, each for a process of its own."""

    def __init__(self, port: int, maximum_length: int) -> None:
        self._maximum_length = maximum_length
        self._shared = mmap.mmap(-1, 8 * MOST_CONNECTIONS)
        self._counters = memoryview(self._shared).cast("Q")
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._accepted = 0

    def run(self) -> None:
        """Serve until SIGTERM."""
        signal.signal(signal.SIGTERM, self._tell)
        while True:
            connection, _ = self._listener.accept()
            self._reap()
            slot = self._accepted % MOST_CONNECTIONS
            self._accepted += 1
            if os.fork() == 0:
                self._serve(connection, self._counters[slot : slot + 1])
            connection.close()

    def _serve(self, connection: socket.socket, counter: memoryview) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._listener.close()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            Conversation(connection, self._maximum_length, counter).serve()
            connection.close()
        finally:
            os._exit(0)

    @staticmethod
    def _reap() -> None:
        """Collect the processes that have ended, so that their CPU time counts as ours."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._reap()
        print(sum(self._counters), flush=True)
        os._exit(0)


if __name__ == "__main__":
    Listener(
        int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else DCMTK_MAXIMUM_LENGTH
    ).run()
