"""Digests of records: what they cover, and whether a row is still as it was recorded."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from uuid import UUID

from sender.models import NO_RESULT_LIST, Association, AssociationStudy, InstanceAttempt
from sender.models.reading import read_afresh, strays_of
from sender.negotiation.outcomes import AssociationOutcome
from sender.services import interning, result_lists
from sender.services.canonical import Chain, digest, digest_of_all

NO_STATUS = "none"


class InstanceAccount:
    """What became of the instances of an association, read in their order and added up.

    Reading once more goes on behind what was read. So most of it can be read before the
    transaction that needs it: with millions of instances that takes a while.
    """

    def __init__(self, uid: UUID) -> None:
        self._rows = InstanceAttempt.objects.filter(attempt_id=uid).order_by("number")
        self._chain = Chain()
        self._last = 0
        self._instances: Counter[tuple[str, int | None]] = Counter()
        self._bytes: Counter[str] = Counter()

    def read(self) -> None:
        """Read what is recorded and was not read yet."""
        new = self._rows.filter(number__gt=self._last)
        for row in new.values_list(*_INSTANCE).iterator():
            self._chain.add(digest(*row))
            self._last = row[0]
            study, status, size = row[2], row[7], row[10]
            self._instances[study, status] += 1
            self._bytes[study] += size

    def digest(self) -> bytes:
        """Return the digest over the outcomes read."""
        return self._chain.digest()

    def studies(self) -> list[AssociationStudy]:
        """Return the instances read by study, without their association."""
        statuses: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (study, status), count in self._instances.items():
            statuses[study][NO_STATUS if status is None else f"{status:04X}"] = count
        return [
            AssociationStudy(
                study_instance_uid=study,
                instances=sum(counts.values()),
                bytes=self._bytes[study],
                statuses=dict(sorted(counts.items())),
            )
            for study, counts in sorted(statuses.items())
        ]


_INSTANCE = (
    "number",
    "sop_instance_uid",
    "study_instance_uid",
    "presentation_context_id",
    "sent_as__uid",
    "conversion",
    "outcome",
    "status",
    "detail",
    "offending_elements",
    "bytes",
)
_DIGESTED = (
    "uid",
    "started_at",
    "started_on",
    "recorded_at",
    "destination_id",
    "template_version_id",
    "trigger",
    "requested_by",
    "send_number",
    "outcome",
    "ended",
    "phase",
    "detail",
    "reject_result",
    "reject_source",
    "reject_reason",
    "abort_source",
    "abort_reason",
    "resolve_us",
    "connect_us",
    "tls_us",
    "negotiation_us",
    "transfer_us",
    "release_us",
    "local_port",
    "local_maximum_length",
    "instances",
)


def _digest(row: Association, parts: Sequence[bytes]) -> bytes:
    fields = [getattr(row, name) for name in _DIGESTED]
    fields[_DIGESTED.index("ended")] = str(row.ended)
    for name in ("trigger", "outcome", "phase"):
        fields[_DIGESTED.index(name)] = str(getattr(row, name))
    return digest(*fields, *parts)


def record_digest(
    row: Association, outcome: AssociationOutcome, studies: Sequence[AssociationStudy]
) -> bytes:
    """Return the digest over a new row, what it refers to, its evidence and its instances."""
    return _digest(
        row,
        [
            bytes(row.destination_revision.digest),
            bytes(row.definition_list.digest),
            bytes(row.result_list.digest),
            bytes(row.peer_identity.digest) if row.peer_identity else b"",
            bytes(row.endpoint.digest),
            bytes(row.tls_session.digest) if row.tls_session else b"",
            _pdus_digest((pdu.sent, pdu.name, pdu.content) for pdu in outcome.pdus),
            digest_of_all(digest(t.context_id, t.instances, t.bytes) for t in outcome.traffic),
            _studies_digest(studies),
            bytes(row.instances_digest),
        ],
    )


def _pdus_digest(pdus: Iterable[tuple[bool, str, bytes]]) -> bytes:
    return digest_of_all(digest(sent, name, bytes(content)) for sent, name, content in pdus)


def _studies_digest(studies: Sequence[AssociationStudy]) -> bytes:
    return digest_of_all(
        digest(
            study.study_instance_uid,
            study.instances,
            study.bytes,
            *(f"{code}:{count}" for code, count in sorted(study.statuses.items())),
        )
        for study in studies
    )


def verify_record(row: Association) -> bool:
    """Tell whether a row, all it refers to and its instances are as they were recorded."""
    pdus = row.pdus.select_related("pdu").order_by("position")
    traffic = row.traffic.order_by("presentation_context_id")
    studies = list(row.studies.order_by("study_instance_uid"))
    account = InstanceAccount(row.uid)
    account.read()
    instances = account.digest()
    proposal, contexts = read_afresh(row)
    answer = bytes(row.result_list.digest)
    if row.result_list_id != NO_RESULT_LIST:
        answer = result_lists.answer_digest(
            proposal, contexts, strays_of(row), row.result_list.more_unmatched
        )
    expected = _digest(
        row,
        [
            bytes(row.destination_revision.digest),
            interning.proposal_digest(proposal),
            answer,
            bytes(row.peer_identity.digest) if row.peer_identity else b"",
            bytes(row.endpoint.digest),
            bytes(row.tls_session.digest) if row.tls_session else b"",
            _pdus_digest((link.sent, link.pdu.name, bytes(link.pdu.content)) for link in pdus),
            digest_of_all(digest(t.presentation_context_id, t.instances, t.bytes) for t in traffic),
            _studies_digest(studies),
            instances,
        ],
    )
    return expected == bytes(row.record_digest) and instances == bytes(row.instances_digest)
