"""The negotiation history: interned lists, associations and their evidence. Insert-only.

Names follow PS3.8 (Presentation Context Definition List, … Result List). Lists are interned by
SHA-256: templates repeat their proposals and peers repeat their answers, so an association costs
one row. Peers' answers are kept as received; constraints bind our proposals only.
"""

from django.db import models

from sender.models.destinations import Destination, DestinationRevision
from sender.models.templates import TemplateVersion
from sender.negotiation.outcomes import AssociationKind, Ended, InstanceOutcome, Phase, StrayKind

NO_RESULT_LIST = 0
"""Primary key of the result list that stands for "no answer"; NULL would not be unique."""


class Trigger(models.TextChoices):
    """What an association was opened for."""

    SEND = "send", "Send"
    ECHO = "echo", "Echo"
    NEGOTIATE = "negotiate", "Negotiate only"
    PROBE = "probe", "Capability probe"


class AbstractSyntax(models.Model):
    """A SOP class (or Meta SOP class) that was ever proposed."""

    id = models.SmallAutoField(primary_key=True)
    uid = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=128)

    def __str__(self) -> str:
        return self.name


class TransferSyntax(models.Model):
    """A transfer syntax that was ever proposed or answered."""

    id = models.SmallAutoField(primary_key=True)
    uid = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=128)
    encapsulated = models.BooleanField(null=True)
    deflated = models.BooleanField(null=True)
    big_endian = models.BooleanField(null=True)

    def __str__(self) -> str:
        return self.name


class TransferSyntaxList(models.Model):
    """An ordered list of transfer syntaxes; some acceptors take the first."""

    digest = models.BinaryField(max_length=32, unique=True)


class TransferSyntaxListItem(models.Model):
    """One place of such a list."""

    pk = models.CompositePrimaryKey("list_id", "position")
    list = models.ForeignKey(TransferSyntaxList, on_delete=models.PROTECT, related_name="items")
    position = models.PositiveSmallIntegerField()
    transfer_syntax = models.ForeignKey(TransferSyntax, on_delete=models.PROTECT, related_name="+")


class PresentationContextDefinitionList(models.Model):
    """A proposal, PS3.8 section 7.1.1.13."""

    digest = models.BinaryField(max_length=32, unique=True)
    context_count = models.PositiveSmallIntegerField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="definition_list_size",
                condition=models.Q(context_count__gte=1, context_count__lte=128),
            ),
        )


class ProposedPresentationContext(models.Model):
    """One presentation context of a proposal."""

    pk = models.CompositePrimaryKey("definition_list_id", "presentation_context_id")
    definition_list = models.ForeignKey(
        PresentationContextDefinitionList, on_delete=models.PROTECT, related_name="contexts"
    )
    presentation_context_id = models.PositiveSmallIntegerField()
    abstract_syntax = models.ForeignKey(AbstractSyntax, on_delete=models.PROTECT, related_name="+")
    transfer_syntax_list = models.ForeignKey(
        TransferSyntaxList, on_delete=models.PROTECT, related_name="+"
    )
    scu_role = models.BooleanField(null=True)
    scp_role = models.BooleanField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="proposed_context_id",
                condition=models.Q(
                    presentation_context_id__gte=1, presentation_context_id__lte=255
                ),
            ),
        )


class PresentationContextDefinitionResultList(models.Model):
    """A peer's whole answer to a proposal, PS3.8 section 7.1.1.14. Row 0: no answer.

    Attributes:
        more_unmatched: answers that fit no proposed context, beyond those that have a row.
    """

    digest = models.BinaryField(max_length=32, unique=True)
    definition_list = models.ForeignKey(
        PresentationContextDefinitionList,
        on_delete=models.PROTECT,
        null=True,
        related_name="result_lists",
    )
    accepted_count = models.PositiveSmallIntegerField(default=0)
    rejected_count = models.PositiveSmallIntegerField(default=0)
    unanswered_count = models.PositiveSmallIntegerField(default=0)
    violation_count = models.PositiveSmallIntegerField(default=0)
    more_unmatched = models.PositiveIntegerField(db_default=0)


class PresentationContextResult(models.Model):
    """What a peer answered for one proposed context; `result_reason` is the byte as received."""

    pk = models.CompositePrimaryKey("result_list_id", "presentation_context_id")
    result_list = models.ForeignKey(
        PresentationContextDefinitionResultList, on_delete=models.PROTECT, related_name="results"
    )
    presentation_context_id = models.PositiveSmallIntegerField()
    result_reason = models.PositiveSmallIntegerField(null=True)
    accepted_transfer_syntax = models.ForeignKey(
        TransferSyntax, on_delete=models.PROTECT, null=True, related_name="+"
    )
    violation = models.BooleanField(default=False)
    scu_role = models.BooleanField(null=True)
    scp_role = models.BooleanField(null=True)


class UnmatchedResult(models.Model):
    """An answer that fits no proposed context: an unknown id, or an id answered again."""

    pk = models.CompositePrimaryKey("result_list_id", "position")
    result_list = models.ForeignKey(
        PresentationContextDefinitionResultList, on_delete=models.PROTECT, related_name="unmatched"
    )
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=16, choices=[(k, k) for k in StrayKind])
    presentation_context_id = models.PositiveSmallIntegerField()
    result_reason = models.PositiveSmallIntegerField()
    transfer_syntax = models.CharField(max_length=64, blank=True)


class PeerIdentity(models.Model):
    """What acceptors said of themselves."""

    digest = models.BinaryField(max_length=32, unique=True)
    implementation_class_uid = models.CharField(max_length=64, blank=True)
    implementation_version_name = models.CharField(max_length=64, blank=True)
    maximum_length_received = models.PositiveBigIntegerField(null=True)


class Endpoint(models.Model):
    """Between which hosts a connection ran; the ephemeral local port stands at the association."""

    digest = models.BinaryField(max_length=32, unique=True)
    sender_host = models.CharField(max_length=253)
    local_address = models.CharField(max_length=64, blank=True)
    peer_address = models.CharField(max_length=64, blank=True)
    peer_port = models.PositiveIntegerField(null=True)


class TlsSession(models.Model):
    """What a TLS handshake agreed and which certificate the peer presented."""

    digest = models.BinaryField(max_length=32, unique=True)
    version = models.CharField(max_length=16)
    cipher = models.CharField(max_length=64)
    peer_certificate_sha256 = models.CharField(max_length=64, blank=True)
    peer_certificate_expires_at = models.DateTimeField(null=True)


class ErasableText(models.Model):
    """Text that may hold patient data (Error Comments, typed names), outside what is sealed.

    Rows refer to it by digest, so that the text can be erased and their digests still verify.
    """

    digest = models.BinaryField(max_length=32, unique=True)
    text = models.TextField(blank=True)
    erased_at = models.DateTimeField(null=True)


class AssociationAttempt(models.Model):
    """An association from before its connect to its end: the only mutable row of the history.

    Committed before connecting, so that a process that dies leaves a trace; the sweeper closes
    what its owner no longer can.

    Attributes:
        stall: who keeps it waiting while it is open (negotiation/stalls.py), "" while it moves or
            when that is us.
        stalled_since: when anything moved last, while it stalls.
    """

    uid = models.UUIDField(primary_key=True)
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="+")
    destination_revision = models.ForeignKey(
        DestinationRevision, on_delete=models.PROTECT, related_name="+"
    )
    template_version = models.ForeignKey(
        TemplateVersion, on_delete=models.PROTECT, related_name="+"
    )
    definition_list = models.ForeignKey(
        PresentationContextDefinitionList, on_delete=models.PROTECT, related_name="+"
    )
    trigger = models.CharField(max_length=16, choices=Trigger.choices)
    requested_by = models.CharField(max_length=150)
    send = models.ForeignKey(
        "sender.Send", on_delete=models.SET_NULL, null=True, related_name="attempts"
    )
    batch_id = models.PositiveBigIntegerField(null=True)
    sender_host = models.CharField(max_length=253)
    started_at = models.DateTimeField()
    request = models.BinaryField(null=True)
    answer = models.BinaryField(null=True)
    owner = models.CharField(max_length=128)
    lease_until = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    stall = models.CharField(max_length=16, blank=True)
    stalled_since = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(
                name="attempt_open",
                fields=("lease_until",),
                condition=models.Q(closed_at__isnull=True),
            ),
        )


class Association(models.Model):
    """One association, recorded once at its end; never changed.

    Attributes:
        started_at: just before the TCP connect.
        started_on: its day in the site's time zone.
        instances_digest: SHA-256 over its instance outcomes, in order.
        record_digest: SHA-256 over the canonical bytes of the row, its lists and its instances.
    """

    uid = models.UUIDField(unique=True)
    started_at = models.DateTimeField()
    started_on = models.DateField()
    recorded_at = models.DateTimeField()
    destination = models.ForeignKey(
        Destination, on_delete=models.PROTECT, related_name="associations", db_index=False
    )
    destination_revision = models.ForeignKey(
        DestinationRevision, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    template_version = models.ForeignKey(
        TemplateVersion, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    definition_list = models.ForeignKey(
        PresentationContextDefinitionList,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    result_list = models.ForeignKey(
        PresentationContextDefinitionResultList,
        on_delete=models.PROTECT,
        default=NO_RESULT_LIST,
        related_name="+",
        db_index=False,
    )
    trigger = models.CharField(max_length=16, choices=Trigger.choices)
    requested_by = models.CharField(max_length=150)
    send_number = models.PositiveBigIntegerField(null=True)
    outcome = models.CharField(max_length=24, choices=[(k, k) for k in AssociationKind])
    ended = models.CharField(max_length=24, blank=True, choices=[(k, k) for k in Ended])
    phase = models.CharField(max_length=16, choices=[(k, k) for k in Phase])
    detail = models.CharField(max_length=400, blank=True)
    reject_result = models.PositiveSmallIntegerField(null=True)
    reject_source = models.PositiveSmallIntegerField(null=True)
    reject_reason = models.PositiveSmallIntegerField(null=True)
    abort_source = models.PositiveSmallIntegerField(null=True)
    abort_reason = models.PositiveSmallIntegerField(null=True)
    resolve_us = models.PositiveBigIntegerField(null=True)
    connect_us = models.PositiveBigIntegerField(null=True)
    tls_us = models.PositiveBigIntegerField(null=True)
    negotiation_us = models.PositiveBigIntegerField(null=True)
    transfer_us = models.PositiveBigIntegerField(null=True)
    release_us = models.PositiveBigIntegerField(null=True)
    peer_identity = models.ForeignKey(
        PeerIdentity, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    endpoint = models.ForeignKey(
        Endpoint, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    local_port = models.PositiveIntegerField(null=True)
    tls_session = models.ForeignKey(
        TlsSession, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    local_maximum_length = models.PositiveIntegerField()
    instances = models.PositiveIntegerField(default=0)
    instances_digest = models.BinaryField(max_length=32)
    record_digest = models.BinaryField(max_length=32)

    class Meta:
        ordering = ("-started_at", "-id")
        indexes = (
            models.Index(
                name="association_by_destination", fields=("destination", "-started_at", "-id")
            ),
            models.Index(name="association_by_time", fields=("-started_at", "-id")),
            models.Index(
                name="association_not_established",
                fields=("-started_at", "-id"),
                condition=~models.Q(outcome=AssociationKind.ESTABLISHED.value),
            ),
            models.Index(
                name="association_by_send",
                fields=("send_number",),
                condition=models.Q(send_number__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return str(self.uid)


class Pdu(models.Model):
    """The bytes of a control PDU, kept once; user identity blanked."""

    digest = models.BinaryField(max_length=32, unique=True)
    name = models.CharField(max_length=16)
    content = models.BinaryField()


class AssociationPdu(models.Model):
    """A control PDU that travelled in an association."""

    pk = models.CompositePrimaryKey("association_id", "position")
    association = models.ForeignKey(Association, on_delete=models.PROTECT, related_name="pdus")
    position = models.PositiveSmallIntegerField()
    sent = models.BooleanField()
    pdu = models.ForeignKey(Pdu, on_delete=models.PROTECT, related_name="+", db_index=False)


class ContextTraffic(models.Model):
    """What travelled in one presentation context of an association."""

    pk = models.CompositePrimaryKey("association_id", "presentation_context_id")
    association = models.ForeignKey(Association, on_delete=models.PROTECT, related_name="traffic")
    presentation_context_id = models.PositiveSmallIntegerField()
    instances = models.PositiveIntegerField()
    bytes = models.PositiveBigIntegerField()


class AssociationStudy(models.Model):
    """What travelled of one study in an association; `statuses` counts instances per status.

    A status is four hexadecimal digits, or "none" where no trusted answer came.
    """

    pk = models.CompositePrimaryKey("association_id", "study_instance_uid")
    association = models.ForeignKey(Association, on_delete=models.PROTECT, related_name="studies")
    study_instance_uid = models.CharField(max_length=64, db_index=True)
    instances = models.PositiveIntegerField()
    bytes = models.PositiveBigIntegerField()
    statuses: "models.JSONField[dict[str, int], dict[str, int]]" = models.JSONField()


class InstanceAttempt(models.Model):
    """What became of one instance in one association; `attempt_id` is the association's uid.

    Written in groups while the association runs, so it refers to the attempt, which exists then.
    """

    pk = models.CompositePrimaryKey("attempt_id", "number")
    attempt = models.ForeignKey(
        AssociationAttempt, on_delete=models.PROTECT, related_name="instances", db_index=False
    )
    number = models.PositiveIntegerField()
    item_id = models.PositiveBigIntegerField(db_index=True)
    sop_instance_uid = models.CharField(max_length=64)
    study_instance_uid = models.CharField(max_length=64, blank=True)
    presentation_context_id = models.PositiveSmallIntegerField()
    sent_as = models.ForeignKey(
        TransferSyntax, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    conversion = models.CharField(max_length=16)
    outcome = models.CharField(max_length=16, choices=[(k, k) for k in InstanceOutcome])
    status = models.PositiveIntegerField(null=True)
    detail = models.CharField(max_length=400, blank=True)
    error_comment = models.ForeignKey(
        ErasableText, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    offending_elements = models.CharField(max_length=200, blank=True)
    bytes = models.PositiveBigIntegerField()
