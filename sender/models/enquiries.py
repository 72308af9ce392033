"""Questions that people put to a destination from the browser: echo, negotiate only."""

from django.db import models

from sender.models.destinations import Destination
from sender.models.history import Trigger
from sender.models.templates import TemplateVersion


class Enquiry(models.Model):
    """One echo or negotiation asked for by a person and run by the sender.

    Attributes:
        kind: what the association is opened for: echo or negotiate.
        association_uid: the association that answered it, once it is recorded.
        status: status of the C-ECHO-RSP, null: none came or none was asked for.
        detail: why it could not be run, in the user's words.
    """

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="enquiries")
    kind = models.CharField(max_length=16, choices=Trigger.choices)
    template_version = models.ForeignKey(
        TemplateVersion, on_delete=models.PROTECT, related_name="+"
    )
    requested_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    association_uid = models.UUIDField(null=True)
    outcome = models.CharField(max_length=24, blank=True)
    status = models.PositiveIntegerField(null=True)
    detail = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.kind} to {self.destination}"
