"""Real peers, started on free ports and stopped at the end: DCMTK's and Orthanc."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class RunningPeer:
    """A peer that listens.

    Attributes:
        ae_title: by which it wants to be called.
        log: what it printed.
        stored: the folder with what it stored, if it keeps files there.
    """

    ae_title: str
    port: int
    log: Path
    stored: Path
    http_port: int = 0

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait until something listens on a port.

    Raises:
        TimeoutError: nothing does in time, or the process has ended.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.02)  # house: waiting for another program to listen, with a deadline
    raise TimeoutError(f"Nothing listens on port {port}.")


@contextmanager
def _running(command: Sequence[str], port: int, folder: Path) -> Iterator[Path]:
    log = folder / "peer.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        try:
            await_port(port, process)
            yield log
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[RunningPeer]:
    """Run DCMTK's storescp with these options; with +B it keeps data sets as they came."""
    port, stored = free_port(), folder / "stored"
    stored.mkdir(parents=True)
    command = ["storescp", "-v", *options, "-od", str(stored), "-aet", "STORESCP", str(port)]
    with _running(command, port, folder) as log:
        yield RunningPeer("STORESCP", port, log, stored)


STORESCP_PROFILE = """
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LittleEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[FewClasses]
PresentationContext1 = VerificationSOPClass\\Uncompressed
PresentationContext2 = CTImageStorage\\Uncompressed
[[Profiles]]
[Restricted]
PresentationContexts = FewClasses
"""


def storescp_profile(folder: Path) -> tuple[str, ...]:
    """Return the options for a profile that takes uncompressed CT only."""
    path = folder / "profile.cfg"
    path.write_text(STORESCP_PROFILE)
    return ("-xf", str(path), "Restricted")


@contextmanager
def dcmqrscp(folder: Path) -> Iterator[RunningPeer]:
    """Run DCMTK's dcmqrscp."""
    port, stored = free_port(), folder / "qr"
    stored.mkdir(parents=True)
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {stored} RW (500, 1024mb) ANY\nAETable END\n"
    )
    with _running(["dcmqrscp", "-v", "-c", str(config)], port, folder) as log:
        yield RunningPeer("DCMQRSCP", port, log, stored)


@contextmanager
def orthanc(folder: Path, **settings: object) -> Iterator[RunningPeer]:
    """Run Orthanc with a storage of its own and these further settings."""
    port, http_port, stored = free_port(), free_port(), folder / "orthanc"
    stored.mkdir(parents=True)
    config = folder / "orthanc.json"
    document = {
        "Name": "test",
        "StorageDirectory": str(stored),
        "IndexDirectory": str(stored),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "StorageCompression": False,
        "OverwriteInstances": True,
        "Plugins": [],
        **settings,
    }
    config.write_text(json.dumps(document))
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    with _running([program, "--verbose", str(config)], port, folder) as log:
        yield RunningPeer("ORTHANC", port, log, stored, http_port)
