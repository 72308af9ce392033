"""Counts that follow from the history and can be rebuilt from it."""

from django.db import models

from sender.models.destinations import Destination
from sender.models.history import (
    AbstractSyntax,
    PresentationContextDefinitionList,
    PresentationContextDefinitionResultList,
    TransferSyntax,
)
from sender.models.templates import TemplateVersion
from sender.negotiation.outcomes import AssociationKind, Verdict


class DefinitionListSyntax(models.Model):
    """How often a proposal proposes a transfer syntax: what is unknown without an answer."""

    pk = models.CompositePrimaryKey(
        "definition_list_id", "abstract_syntax_id", "transfer_syntax_id"
    )
    definition_list = models.ForeignKey(
        PresentationContextDefinitionList, on_delete=models.CASCADE, related_name="+"
    )
    abstract_syntax = models.ForeignKey(AbstractSyntax, on_delete=models.PROTECT, related_name="+")
    transfer_syntax = models.ForeignKey(TransferSyntax, on_delete=models.PROTECT, related_name="+")
    contexts = models.PositiveSmallIntegerField()


class ResultListOutcome(models.Model):
    """How often a result list gives a verdict to a pair of abstract and transfer syntax.

    Attributes:
        sole: counts contexts that proposed this transfer syntax alone.
        inferred: the abstract syntax was rejected here but accepted in another context of the
            same association, so the rejection is evidence about the transfer syntax.
    """

    pk = models.CompositePrimaryKey(
        "result_list_id", "abstract_syntax_id", "transfer_syntax_id", "verdict", "sole", "inferred"
    )
    result_list = models.ForeignKey(
        PresentationContextDefinitionResultList, on_delete=models.CASCADE, related_name="outcomes"
    )
    abstract_syntax = models.ForeignKey(AbstractSyntax, on_delete=models.PROTECT, related_name="+")
    transfer_syntax = models.ForeignKey(TransferSyntax, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=32, choices=[(v, v) for v in Verdict])
    sole = models.BooleanField()
    inferred = models.BooleanField()
    contexts = models.PositiveSmallIntegerField()


class ResultListSyntaxOutcome(models.Model):
    """The same without the abstract syntax."""

    pk = models.CompositePrimaryKey(
        "result_list_id", "transfer_syntax_id", "verdict", "sole", "inferred"
    )
    result_list = models.ForeignKey(
        PresentationContextDefinitionResultList,
        on_delete=models.CASCADE,
        related_name="syntax_outcomes",
    )
    transfer_syntax = models.ForeignKey(TransferSyntax, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=32, choices=[(v, v) for v in Verdict])
    sole = models.BooleanField()
    inferred = models.BooleanField()
    contexts = models.PositiveSmallIntegerField()


class NegotiationDay(models.Model):
    """Associations of one site-local day that asked and were answered alike."""

    started_on = models.DateField()
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="+")
    template_version = models.ForeignKey(
        TemplateVersion, on_delete=models.PROTECT, related_name="+"
    )
    definition_list = models.ForeignKey(
        PresentationContextDefinitionList, on_delete=models.PROTECT, related_name="+"
    )
    outcome = models.CharField(max_length=24, choices=[(k, k) for k in AssociationKind])
    result_list = models.ForeignKey(
        PresentationContextDefinitionResultList, on_delete=models.PROTECT, related_name="+"
    )
    associations = models.PositiveIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="negotiation_day_once",
                fields=(
                    "destination",
                    "started_on",
                    "template_version",
                    "definition_list",
                    "outcome",
                    "result_list",
                ),
            ),
        )
        indexes = (models.Index(name="negotiation_day_by_day", fields=("started_on",)),)
