"""What the pictures of the documentation show: files, peers of every kind, and thirty days of past.

Nothing here is real: UIDs under 1.2.826.0.1.3680043.8.498 with small numbers, peers that do what
their script says, and associations written into the history with dates of the last weeks.
"""

import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from sender.negotiation import syntaxes
from tests.misbehaviour.dialogue import Dialogue
from tests.samples import FOLDER
from tests.scripted_acceptor import Conversation, Script, acceptor

ROOT_UID = "1.2.826.0.1.3680043.8.498"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
STUDIES, PER_STUDY = 6, 24
CROWDED, UNKNOWN_CLASS, ODD, COERCED, UNANSWERED = 0xA700, 0x0122, 0xC001, 0xB000, None
ANSWERS_BEFORE_SILENCE = 9
DAYS = 30
ADDRESS = "127.0.0.1"


def study_uid(number: int) -> str:
    """Return the UID of a study of ours."""
    return f"{ROOT_UID}.{number}"


def write_export(folder: Path) -> None:
    """Write studies, two conflicts, and files that are no instances."""
    from tests.factories import write_instance

    for study in range(1, STUDIES + 1):
        is_mr = study % 3 == 0
        for number in range(1, PER_STUDY + 1):
            write_instance(
                folder / f"study{study}" / f"{number:04}.dcm",
                sop_instance=f"{study_uid(study)}.1.{number}",
                study=study_uid(study),
                sop_class=MR if is_mr else CT,
                transfer_syntax=syntaxes.JPEG_2000_LOSSLESS
                if study == 2
                else syntaxes.EXPLICIT_VR_LE,
                rows=64,
                extra=(("Modality", "MR" if is_mr else "CT"), ("StudyDate", f"202611{study:02}")),
            )
    twice = folder / "again" / "0001.dcm"
    write_instance(twice, sop_instance=f"{study_uid(1)}.1.1", study=study_uid(1), rows=16)
    (folder / "readme.txt").write_text("Exported by hand.\n")
    whole = (folder / "study1" / "0002.dcm").read_bytes()
    (folder / "study1" / "cut-off.dcm").write_bytes(whole[:400])
    shutil.copytree(FOLDER / "test_files" / "dicomdirtests", folder / "cd")


def write_uid_list(path: Path) -> None:
    """Write a list of studies and how many instances each should have; some are not there."""
    lines = [
        f"{study_uid(1)},{PER_STUDY + 6}",
        f"{study_uid(2)},{PER_STUDY}",
        f"{study_uid(40)},80",
    ]
    path.write_text("\n".join(["uid,instances", *lines, f"{study_uid(41)},12"]) + "\n")


@dataclass(frozen=True, slots=True)
class Peers:
    """The ports of peers that are scripted, and whom the one with TLS is known by."""

    choosy: int
    crowded: int
    silent: int
    secure: int
    untrusted: int
    ca_file: Path


@contextmanager
def peers(folder: Path) -> Iterator[Peers]:
    """Run the scripted peers; the authority's certificate goes into a folder."""
    authority = trustme.CA(organization_name="Demo Hospital", organization_unit_name="PACS")
    ca_file = folder / "demo-ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with ExitStack() as stack:

        def run(answer: Callable[[int], int | None], issuer: trustme.CA | None = None) -> int:
            tls = None
            if issuer is not None:
                tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                issuer.create_child_ca().issue_cert(ADDRESS).configure_cert(tls)
            serve = _server(answer)
            return stack.enter_context(acceptor(serve, tls=tls, kind=Dialogue)).port

        yield Peers(
            choosy=run(_choosy),
            crowded=run(lambda _number: CROWDED),
            silent=run(lambda number: 0 if number <= ANSWERS_BEFORE_SILENCE else UNANSWERED),
            secure=run(lambda _number: 0, authority),
            untrusted=run(lambda _number: 0, trustme.CA()),
            ca_file=ca_file,
        )


def _choosy(number: int) -> int:
    """Answer most with success, some with a warning or a failure of some kind."""
    return {3: COERCED, 5: ODD, 8: UNKNOWN_CLASS, 11: COERCED, 13: CROWDED}.get(number % 17, 0)


_COMMENTS = {
    COERCED: "Study Description was changed",
    ODD: "Rows and Columns do not fit Pixel Data",
    CROWDED: "Storage is full",
}


def _server(answer: Callable[[int], int | None]) -> Script:
    """Return a script that accepts everything and answers the n-th request as told."""

    def serve(dialogue: Conversation) -> None:
        assert isinstance(dialogue, Dialogue)
        dialogue.accept_all()
        number = 0
        with suppress(ConnectionResetError):
            while True:
                request = dialogue.read_request()
                number += 1
                status = answer(number) if request.number(0x0100) == 1 else 0
                if status is None:
                    while not dialogue.ended.is_set():
                        dialogue.stay_silent()
                    return
                dialogue.answer(request, status, comment=_COMMENTS.get(status))
        dialogue.send(bytes.fromhex("06 00 00000004 00000000"))

    return serve


def write_past() -> None:
    """Write associations of the last weeks; to be run where Django is set up.

    The old archive stops taking JPEG 2000 twelve days ago, and is away for a night.
    """
    from sender.models import Destination
    from sender.negotiation.contexts import ContextSpec, Proposal
    from sender.negotiation.outcomes import AssociationKind
    from tests import factories

    proposal = Proposal.of(
        [
            ContextSpec(CT, (syntaxes.JPEG_2000_LOSSLESS,)),
            ContextSpec(CT, (syntaxes.EXPLICIT_VR_LE,)),
            ContextSpec(CT, (syntaxes.IMPLICIT_VR_LE,)),
            ContextSpec(MR, (syntaxes.EXPLICIT_VR_LE,)),
            ContextSpec(MR, ("1.2.840.10008.1.2.4.70",)),
        ]
    )
    modern, old = (
        Destination.objects.get(name=f"Demo: {n}") for n in ("modern archive", "old archive")
    )
    now = datetime.now(UTC)
    for days in range(DAYS - 1, 0, -1):
        for hour in range(2 + days % 3):
            at = now - timedelta(days=days, hours=3 * hour)
            one = factories.outcome(0, 0, 0, 0, 0, started_at=at, proposal=proposal)
            factories.recorded(modern, one)
            wavelet = 0 if days > 12 else 4
            seventy = 4 if days % 2 else 0
            one = factories.outcome(wavelet, 0, 4, 0, seventy, started_at=at, proposal=proposal)
            factories.recorded(old, one)
        if days == 9:
            away = factories.outcome(
                kind=AssociationKind.TCP_FAILED,
                started_at=now - timedelta(days=9),
                proposal=proposal,
            )
            factories.recorded(old, away)
