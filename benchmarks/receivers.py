"""The receivers, each started afresh for every measurement, all under the AE title BENCH.

null: ours, which accepts everything and keeps nothing; null-LENGTH says another maximum length.
storescp: DCMTK's, as a user starts it; storescp-nodelay: with TCP_NODELAY=1, at its best.
orthanc, orthanc-nodelay: Orthanc, which stores in earnest, in a new directory.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring import Tree

AE_TITLE = "BENCH"
PATIENCE_SECONDS = 20.0
NULL_RECEIVER = Path(__file__).with_name("null_receiver.py")
NODELAY = "-nodelay"


class NotStarted(RuntimeError):
    """A receiver or a sender that has to be running does not run; the message says which."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where receivers listen, that of what is sent to warm up among them, and Orthanc's servers."""

    receiver: int
    warm_up: int
    orthanc_http: int
    orthanc_sender_http: int
    orthanc_sender_dicom: int

    @classmethod
    def free(cls) -> "Ports":
        """Return ports on which nobody listens now."""
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
        numbers = [listener.getsockname()[1] for listener in sockets]
        for listener in sockets:
            listener.close()
        return cls(*numbers)


@dataclass(slots=True)
class Receiver:
    """A receiver that runs.

    Attributes:
        stored: how many instances it has taken, once it has ended; None if it can't say.
    """

    tree: Tree
    stored: int | None = field(default=None)


def environment_of(name: str) -> dict[str, str]:
    """Return the environment of a DCMTK or Orthanc program, with TCP_NODELAY=1 if its name asks."""
    inherited = {key: text for key, text in os.environ.items() if key != "TCP_NODELAY"}
    return inherited | ({"TCP_NODELAY": "1"} if name.endswith(NODELAY) else {})


def program(name: str) -> str:
    """Return the path of a program outside of our virtual environment.

    pynetdicom installs a storescu and a storescp of its own, which are not those of DCMTK.

    Raises:
        NotStarted: it is not installed.
    """
    ours = os.path.realpath(os.path.join(sys.prefix, "bin"))
    folders = [
        folder
        for folder in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin"]
        if os.path.realpath(folder) != ours
    ]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise NotStarted(f"{name} is not installed.")
    return found


@contextmanager
def receiving(name: str, ports: Ports, *, null_command: str = "") -> Iterator[Receiver]:
    """Run a receiver; `stored` is known after the block.

    Args:
        null_command: another null receiver, with {port} and {length} where they belong.

    Raises:
        NotStarted: it does not listen.
    """
    if name.startswith("orthanc"):
        with Orthanc(name, ports.receiver, ports.orthanc_http) as orthanc:
            receiver = Receiver(orthanc.tree)
            yield receiver
            receiver.stored = orthanc.count()
        return
    command = _command(name, ports.receiver, null_command)
    with tempfile.TemporaryFile() as output:
        process = _start(command, environment_of(name), output.fileno())
        receiver = Receiver(Tree(process.pid))
        try:
            await_port(ports.receiver, name)
            yield receiver
        finally:
            _stop(process)
        output.seek(0)
        receiver.stored = _count(output.read())


def _command(name: str, port: int, null_command: str) -> list[str]:
    if not name.startswith("null"):
        return [program("storescp"), "--fork", "--ignore", "+xa", "-pm", str(port)]
    length = name.removeprefix("null").removeprefix("-") or "16384"
    if null_command:
        return shlex.split(null_command.format(port=port, length=length))
    return [sys.executable, str(NULL_RECEIVER), str(port), length]


def _count(output: bytes) -> int | None:
    text = output.strip()
    return int(text) if text.isdigit() else None


def _start(
    command: Sequence[str], environment: dict[str, str], output: int
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a program in order, and whatever it has started."""
    process.terminate()
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def await_port(port: int, name: str) -> None:
    """Wait until somebody listens on a port.

    Raises:
        NotStarted: nobody does in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise NotStarted(f"{name} does not listen on port {port}.")


class Orthanc:
    """An Orthanc of our own, as a receiver or as a sender."""

    def __init__(self, name: str, port: int, http_port: int, *, sink: int | None = None) -> None:
        self._name = name
        self._port = port
        self._http_port = http_port
        self._sink = sink
        self._folder = Path(tempfile.mkdtemp(prefix="concordat-orthanc-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Orthanc":
        configuration = self._folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration()))
        command = [program("Orthanc"), str(configuration)]
        self._process = _start(command, environment_of(self._name), subprocess.DEVNULL)
        try:
            await_port(self._http_port, self._name)
            await_port(self._port, self._name)
        except NotStarted:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            _stop(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def tree(self) -> Tree:
        assert self._process is not None
        return Tree(self._process.pid)

    def ask(self, path: str, body: object = None, *, seconds: float = 600) -> Any:
        """Call the web service and return what it says.

        Raises:
            OSError: it refused or did not answer in time.
        """
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._http_port}{path}",
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.load(answer)

    def count(self) -> int:
        """Return how many instances it holds."""
        return int(self.ask("/statistics")["CountInstances"])

    def _configuration(self) -> dict[str, object]:
        modalities = {}
        if self._sink is not None:
            modalities = {"sink": [AE_TITLE, "127.0.0.1", self._sink]}
        return {
            "Name": self._name,
            "StorageDirectory": str(self._folder),
            "IndexDirectory": str(self._folder),
            "HttpPort": self._http_port,
            "DicomPort": self._port,
            "DicomAet": AE_TITLE,
            "DicomModalities": modalities,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": False,
            "StableAge": 600,
            "SaveJobs": False,
            "HttpTimeout": 0,
        }
