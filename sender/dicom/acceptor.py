"""The built-in receiver: a pynetdicom acceptor with profiles, for the demo and for tests.

Run it with `python -m sender.dicom.acceptor`. One port; the called AE title picks the profile. It
keeps no data unless asked to.
"""

import argparse
import hashlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RQ
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import ThreadedAssociationServer

from sender.dicom.upper_layer import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sender.negotiation import syntaxes
from sender.negotiation.sop_classes import VERIFICATION

SUCCESS = 0x0000
CALLED_AE_TITLE_NOT_RECOGNISED = (1, 1, 7)
CALLING_AE_TITLE_NOT_RECOGNISED = (1, 1, 3)
_UNCOMPRESSED = [syntaxes.EXPLICIT_VR_LE, syntaxes.IMPLICIT_VR_LE]
_PICKY_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.1.6.1",
        "1.2.840.10008.5.1.4.1.1.7",
    }
)


@dataclass(frozen=True, slots=True)
class Profile:
    """How the receiver behaves towards those who call it by an AE title.

    Attributes:
        transfer_syntaxes: what it accepts; None: whatever is proposed.
        sop_classes: what it accepts beside Verification; None: whatever is proposed.
        pause_seconds: before each C-STORE-RSP.
        rejection: result, source and reason of its A-ASSOCIATE-RJ, if it rejects.
    """

    transfer_syntaxes: tuple[str, ...] | None = None
    sop_classes: frozenset[str] | None = None
    pause_seconds: float = 0.0
    rejection: tuple[int, int, int] | None = None


PROFILES: dict[str, Profile] = {
    "DEMO_SCP": Profile(),
    "DEMO_OLD": Profile(transfer_syntaxes=tuple(_UNCOMPRESSED)),
    "DEMO_PICKY": Profile(sop_classes=_PICKY_CLASSES),
    "DEMO_SLOW": Profile(pause_seconds=0.2),
    "DEMO_REFUSE": Profile(rejection=CALLING_AE_TITLE_NOT_RECOGNISED),
}


class Receiver:
    """A running receiver; use as a context manager.

    Args:
        keep: a folder for what is received, named by SOP Instance UID; None keeps nothing.
        notice: told of every association, its end, and every instance, as a dict that JSON can
            hold; `open` counts the associations that are open at once.
    """

    def __init__(
        self,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        keep: Path | None = None,
        notice: Callable[[dict[str, Any]], None] | None = None,
        profiles: dict[str, Profile] | None = None,
    ) -> None:
        self._bind = (address, port)
        self._keep = keep
        self._notice = notice
        self._profiles = PROFILES if profiles is None else profiles
        self._open: dict[Any, int] = {}
        self._number = 0
        self._lock = threading.Lock()
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> "Receiver":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that it really listens on."""
        assert self._server is not None
        listening: Any = self._server.socket
        return int(listening.getsockname()[1])

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is in use.
        """
        ae = AE(ae_title="DEMO_RECEIVER")
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_associations = 64
        ae.maximum_pdu_size = 131072
        ae.supported_contexts = [build_context(VERIFICATION)]
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, _set_no_delay),
            (evt.EVT_REQUESTED, self._choose_profile),
            (evt.EVT_C_ECHO, _echo),
            (evt.EVT_C_STORE, self._store),
        ]
        if self._notice is not None:
            handlers += [
                (evt.EVT_ACCEPTED, self._note_association),
                (evt.EVT_PDU_RECV, self._note_goodbye),
                (evt.EVT_CONN_CLOSE, self._note_end),
            ]
        self._server = ae.start_server(self._bind, block=False, evt_handlers=handlers)

    def stop(self) -> None:
        """Stop listening and end open associations."""
        if self._server is not None:
            self._server.ae.shutdown()
            self._server = None

    def _choose_profile(self, event: Any) -> None:
        """Decide what to accept of this proposal, before pynetdicom negotiates."""
        request = event.assoc.requestor.primitive
        profile = self._profiles.get(request.called_ae_title.strip())
        rejection = profile.rejection if profile else CALLED_AE_TITLE_NOT_RECOGNISED
        if rejection is not None:
            event.assoc.acse.send_reject(*rejection)
            event.assoc.kill()
            return
        assert profile is not None
        event.assoc.acceptor.supported_contexts = _supported(
            profile, request.presentation_context_definition_list
        )

    def _note_association(self, event: Any) -> None:
        assert self._notice is not None
        assoc = event.assoc
        with self._lock:
            self._number += 1
            self._open[assoc] = self._number
            number, at_once = self._number, len(self._open)
        self._notice(
            {
                "event": "association",
                "association": number,
                "open": at_once,
                "called": assoc.requestor.primitive.called_ae_title.strip(),
                "contexts": [
                    {
                        "id": context.context_id,
                        "abstract_syntax": context.abstract_syntax,
                        "transfer_syntax": context.transfer_syntax[0],
                    }
                    for context in assoc.accepted_contexts
                ],
            }
        )

    def _note_goodbye(self, event: Any) -> None:
        """An association that its requestor ends is over before we answer."""
        if isinstance(event.pdu, A_RELEASE_RQ | A_ABORT_RQ):
            self._note_end(event)

    def _note_end(self, event: Any) -> None:
        with self._lock:
            number = self._open.pop(event.assoc, None)
        if number is not None:
            assert self._notice is not None
            self._notice({"event": "end", "association": number})

    def _store(self, event: Any) -> int:
        request = event.request
        content = request.DataSet.getvalue()
        called = event.assoc.requestor.primitive.called_ae_title.strip()
        time.sleep(self._profiles[called].pause_seconds)
        if self._keep is not None:
            _write(self._keep, request.AffectedSOPInstanceUID, event.encoded_dataset())
        if self._notice is not None:
            self._notice(
                {
                    "event": "store",
                    "association": self._open.get(event.assoc),
                    "called": called,
                    "sop_class": request.AffectedSOPClassUID,
                    "sop_instance": request.AffectedSOPInstanceUID,
                    "transfer_syntax": event.context.transfer_syntax,
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "status": SUCCESS,
                }
            )
        return SUCCESS


def _supported(
    profile: Profile, proposed: Sequence[PresentationContext]
) -> list[PresentationContext]:
    """Return contexts that make pynetdicom accept what the profile accepts of a proposal."""
    wanted: dict[str, list[str]] = {VERIFICATION: list(_UNCOMPRESSED)}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        if profile.sop_classes is None or abstract_syntax in profile.sop_classes:
            accepted = wanted.setdefault(abstract_syntax, [])
            for syntax in profile.transfer_syntaxes or map(str, context.transfer_syntax):
                if syntax not in accepted:
                    accepted.append(syntax)
    return [build_context(uid, accepted) for uid, accepted in wanted.items()]


def _echo(_event: Any) -> int:
    return SUCCESS


def _set_no_delay(event: Any) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _write(folder: Path, sop_instance: str, content: bytes) -> None:
    """Write a file named after its instance; whatever is no UID character is left out."""
    name = "".join(c for c in sop_instance if c in "0123456789.") or "unnamed"
    folder.joinpath(f"{name}.dcm").write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the receiver until it is told to stop; return the exit code."""
    options = _parse(arguments)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    log = options.log.open("a", encoding="utf-8", buffering=1) if options.log else None
    lock = threading.Lock()

    def write(record: dict[str, Any]) -> None:
        with lock:
            assert log is not None
            log.write(json.dumps(record) + "\n")

    receiver = Receiver(
        address=options.bind, port=options.port, keep=options.keep, notice=write if log else None
    )
    try:
        receiver.start()
    except OSError as error:
        sys.stderr.write(f"The receiver can't listen on port {options.port}: {error.strerror}.\n")
        return 2
    if log:
        write({"event": "listening", "port": receiver.port})
    sys.stdout.write(f"listening on {options.bind}:{receiver.port}\n")
    sys.stdout.flush()
    _await_end(with_stdin=options.exit_with_stdin)
    receiver.stop()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A DICOM receiver for demonstration and tests.")
    parser.add_argument("--port", type=int, default=11113, help="0 chooses a free one")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--keep", type=Path, help="a folder for what is received")
    parser.add_argument("--log", type=Path, help="a file for one JSON line per event")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="stop when standard input ends"
    )
    return parser.parse_args(arguments)


def _await_end(*, with_stdin: bool) -> None:
    """Wait for a signal, or for whoever holds the other end of standard input to end."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    if with_stdin:

        def read() -> None:
            # Not through sys.stdin, whose lock would be held when the interpreter ends.
            while os.read(0, 4096):
                pass
            ended.set()

        threading.Thread(target=read, daemon=True).start()
    while not ended.wait(0.5):
        pass


if __name__ == "__main__":
    sys.exit(main())
