"""Bodies of requests: bounded by address, never kept when too large, answered in words."""

import contextlib
import errno
import http.client
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waitress import buffers
from waitress.server import create_server

from sender.process.bodies import UNLIMITED, BodyRule, BodyRules, limited_channel
from sender.services import upload_passes

LARGE = bytes(3_000_000)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with how many bytes came."""
    size = 0
    while block := environ["wsgi.input"].read(1 << 16):
        size += len(block)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(size).encode()]


def _run(server: Any) -> None:
    with contextlib.suppress(OSError):  # closed under it, at the end of a test
        server.run()


@contextlib.contextmanager
def serving(rules: BodyRules) -> Iterator[int]:
    server = create_server(
        application, listen="127.0.0.1:0", threads=2, max_request_body_size=UNLIMITED
    )
    server.channel_class = limited_channel(rules)
    thread = threading.Thread(target=_run, args=(server,))
    thread.start()
    try:
        yield server.effective_port
    finally:
        server.close()
        thread.join(10)


def rules(free: int = 10**12, **by_path: BodyRule) -> BodyRules:
    named = {f"/{name}/": rule for name, rule in by_path.items()}
    return BodyRules(named, BodyRule(1_000_000, "At most 1 MB."), lambda: free)


@pytest.fixture
def port() -> Iterator[int]:
    """A site whose uploads may have 5 MB."""
    with serving(rules(uploads=BodyRule(5_000_000, "At most 5 MB."))) as found:
        yield found


def post(port: int, path: str, body: Any, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_each_address_has_its_limit(port: int) -> None:
    assert post(port, "/uploads/", LARGE) == (200, "3000000")
    assert post(port, "/sign-in/", LARGE[:1_000_000]) == (200, "1000000")
    status, page = post(port, "/sign-in/", LARGE)
    assert status == 413
    assert "At most 1 MB." in page
    status, page = post(port, "/uploads/", LARGE * 2)
    assert (status, "At most 5 MB." in page) == (413, True)
    assert post(port, "/uploads/?x=1", LARGE) == (200, "3000000")


def test_what_is_too_large_is_kept_nowhere(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(buffers, "TempfileBasedBuffer", fail)
    assert post(port, "/uploads/", LARGE * 2)[0] == 413


def test_the_connection_goes_on_after_a_body_that_fits(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for size in (10, 2_000_000, 0, 30):
        connection.request("POST", "/uploads/", LARGE[:size])
        assert connection.getresponse().read() == str(size).encode()
    connection.close()


def test_bodies_of_no_stated_length_are_bounded_too(port: int) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(100_000)

    with contextlib.suppress(ConnectionError):
        status, page = post(port, "/uploads/", pieces())
        assert (status, "At most 5 MB." in page) == (413, True)
    assert post(port, "/uploads/", iter([b"abc", b"def"])) == (200, "6")


def test_who_waits_for_consent_gets_the_answer_at_once(port: int) -> None:
    import socket

    head = b"POST /uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plug:
        plug.sendall(head + b"Expect: 100-continue\r\n\r\n")
        answer = plug.makefile("rb").readline()
    assert answer.startswith(b"HTTP/1.1 413")


def test_room_on_the_disk_is_looked_for_first() -> None:
    with serving(rules(free=2_000_000, uploads=BodyRule(5_000_000, "At most 5 MB."))) as port:
        status, page = post(port, "/uploads/", LARGE)
        assert status == 507
        assert "The disk of this server has no room for this upload." in page
        assert post(port, "/uploads/", LARGE[:1_500_000])[0] == 200
        assert post(port, "/other/", LARGE[:900_000])[0] == 200


def test_a_disk_that_fills_up_on_the_way_is_told(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = buffers.FileBasedBuffer.append
    taken = 0

    def append(self: Any, block: bytes) -> None:
        nonlocal taken
        taken += len(block)
        if taken > 1_500_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, block)

    monkeypatch.setattr(buffers.FileBasedBuffer, "append", append)
    status, page = post(port, "/uploads/", LARGE)
    assert (status, "has no room" in page) == (507, True)
    taken = -10_000_000
    assert post(port, "/uploads/", LARGE) == (200, "3000000")


def test_only_who_holds_a_pass_may_send_much() -> None:
    upload = BodyRule(5_000_000, "At most 5 MB.", has_pass=upload_passes.is_held)
    with serving(rules(uploads=upload)) as port:
        assert post(port, "/uploads/", LARGE)[0] == 413
        assert post(port, "/uploads/", LARGE, Cookie="may_upload=1:x:y; a=b")[0] == 413
        assert post(port, "/uploads/", LARGE, Cookie='a="; b=\xe4')[0] == 413
        assert post(port, "/uploads/", LARGE[:900_000])[0] == 200
        held = f"a=b; may_upload={upload_passes.issue()}"
        assert post(port, "/uploads/", LARGE, Cookie=held) == (200, "3000000")


def test_a_broken_head_is_a_bad_request(port: int) -> None:
    import socket

    for head in (b"POST / HTTP/1.1\r\nbad\r\n\r\n", b"GET / HTTP/1.1\r\nA: %s\r\n\r\n" % LARGE[:9]):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plug:
            plug.sendall(head)
            assert plug.makefile("rb").readline().split()[1] in (b"400", b"200")
