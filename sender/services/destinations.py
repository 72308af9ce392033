"""Destinations: added, changed, with their revisions and slots, and the addresses they may have."""

import ipaddress
import socket
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from sender.dicom.trust import TlsFailed, make_context
from sender.models import AssociationScope, Destination, DestinationRevision, DestinationSlot
from sender.negotiation.peers import (
    DEFAULT_CALLING_AE_TITLE,
    DEFAULT_MAXIMUM_LENGTH,
    TlsSettings,
)
from sender.negotiation.profiles import InvalidProfile, parse_profile
from sender.negotiation.windows import InvalidWindows, parse_windows
from sender.services import certificates, holds
from sender.services.audit import write_entry
from sender.services.canonical import digest

_METADATA = frozenset(
    {ipaddress.ip_address("169.254.169.254"), ipaddress.ip_address("fd00:ec2::254")}
)


_NEGOTIATED = frozenset(
    {
        "ae_title",
        "address",
        "port",
        "calling_ae_title",
        "connect_timeout",
        "tls_timeout",
        "acse_timeout",
        "maximum_length",
        "tls",
        "tls_ca_file",
        "tls_cert_file",
        "tls_key_file",
        "tls_server_name",
    }
)
"""What it depends on whether an association comes about."""
_FILES = frozenset({"tls_ca_file", "tls_cert_file"})


Problems = dict[str, list[str]]


class InvalidDestination(ValueError):
    """A destination can't be as described; `problems` maps each field to what is wrong."""

    def __init__(self, problems: Problems) -> None:
        lines = [f"{name}: {' '.join(found)}" for name, found in problems.items()]
        super().__init__("\n".join(lines))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class DestinationFacts:
    """What an administrator says of a destination; timeouts are seconds, None is no limit."""

    name: str
    ae_title: str
    address: str
    port: int
    calling_ae_title: str = DEFAULT_CALLING_AE_TITLE
    connect_timeout: float = 10
    tls_timeout: float = 15
    acse_timeout: float = 30
    progress_timeout: float = 60
    answer_timeout: float = 60
    maximum_length: int = DEFAULT_MAXIMUM_LENGTH
    max_associations: int = 1
    retries: int = 3
    association_scope: str = AssociationScope.STUDIES.value
    instances_per_association: int | None = None
    bytes_per_second: int | None = None
    instances_per_second: int | None = None
    profile: str = ""
    windows: str = ""
    sends_parked: bool = False
    tls: bool = False
    tls_ca_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_server_name: str = ""
    enabled: bool = True
    notes: str = ""


def add_destination(facts: DestinationFacts, *, actor: str, confirmed: bool) -> Destination:
    """Write a destination, its revision, its slots and an audit entry; opens no connection.

    Args:
        confirmed: somebody vouches that bulk data may go there.

    Raises:
        InvalidDestination: something can't be as described; nothing is written.
    """
    destination = Destination(**asdict(facts), confirmed_at=timezone.now() if confirmed else None)
    _save(destination, actor, "destination.add", asdict(facts))
    return destination


def change_destination(
    destination: Destination, facts: DestinationFacts, *, actor: str
) -> Destination:
    """Change a destination; its earlier revisions stay.

    What the engine holds is tried at once if an association may come about now.

    Raises:
        InvalidDestination: something can't be as described; nothing is written.
    """
    changes = {
        name: value for name, value in asdict(facts).items() if getattr(destination, name) != value
    }
    for name, value in changes.items():
        setattr(destination, name, value)
    if changes:
        with transaction.atomic():
            _save(destination, actor, "destination.change", changes)
            if _FILES & changes.keys():
                certificates.forget_files(destination.pk)
            if _NEGOTIATED & changes.keys():
                holds.try_changed(destination.pk)
    return destination


def problems_of(facts: DestinationFacts, changed: Destination | None = None) -> Problems:
    """Say what is wrong with a destination as described; nothing is written.

    Args:
        changed: the destination that is to become so; None: a new one.
    """
    return _problems(Destination(pk=changed.pk if changed else None, **asdict(facts)))


def _problems(destination: Destination) -> Problems:
    """Say everything that is wrong with a destination, each fact by itself; {} if nothing is."""
    problems: Problems = {}
    try:
        destination.full_clean(validate_unique=False)
    except ValidationError as error:
        problems = error.message_dict
    others = Destination.objects.exclude(pk=destination.pk)
    if others.filter(name=destination.name).exists():
        problems["name"] = [f"There is a destination {destination.name} already."]
    if not {"address", "port"} & problems.keys():
        problem = address_problem(destination.address, destination.port)
        problems |= {"address": [problem]} if problem else {}
    return _limit_problems(destination) | _tls_problems(destination) | problems


def _save(destination: Destination, actor: str, action: str, facts: dict[str, object]) -> None:
    problems = _problems(destination)
    if problems:
        raise InvalidDestination(problems)
    with transaction.atomic():
        destination.save()
        current_revision(destination)
        _keep_slots(destination)
        write_entry(actor=actor, action=action, subject=destination.name, facts=facts)


def address_problem(address: str, port: int) -> str:
    """Say why an address can't be a destination's; "" if it can.

    Loopback is allowed (demo receiver, local gateways) but for our own web and database ports;
    link-local and cloud metadata addresses are not (RELIABILITY.md, SSRF-like use).
    """
    if any(character.isspace() or character in "/\\@?#" for character in address):
        return "An address is a host name or an IP address, nothing more."
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        local = address.lower().rstrip(".") in ("localhost", socket.gethostname().lower())
        return _own_port_problem(port) if local else ""
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in _METADATA:
        return "Link-local, multicast and metadata addresses can't be destinations."
    return _own_port_problem(port) if ip.is_loopback else ""


def _own_port_problem(port: int) -> str:
    database = settings.DATABASES["default"]
    own = {int(database.get("PORT") or 0), urlsplit(f"//{settings.BIND}").port or 0}
    return "This port is our own web server's or database's." if port in own else ""


def _limit_problems(destination: Destination) -> Problems:
    """Say which of the limits and times can't be used; {} if all can."""
    problems: Problems = {}
    for name in ("instances_per_association", "bytes_per_second", "instances_per_second"):
        if getattr(destination, name) == 0:
            problems[name] = ["Nothing would ever be sent; leave it empty for no limit."]
    try:
        parse_windows(destination.windows)
    except InvalidWindows as error:
        problems["windows"] = [str(error)]
    try:
        parse_profile(destination.profile)
    except InvalidProfile as error:
        problems["profile"] = [str(error)]
    return problems


def _tls_problems(destination: Destination) -> Problems:
    """Say which of the files for TLS can't be used; {} if all can, or none is wanted.

    They are loaded as for an association, which never asks anybody for a passphrase.
    """
    if not destination.tls:
        return {}
    cert_file, key_file = destination.tls_cert_file, destination.tls_key_file
    parts = {}
    if destination.tls_ca_file:
        parts["tls_ca_file"] = TlsSettings(ca_file=destination.tls_ca_file)
    if cert_file:
        parts["tls_cert_file"] = TlsSettings(cert_file=cert_file, key_file=key_file)
    problems: Problems = {}
    if key_file and not cert_file:
        problems["tls_cert_file"] = ["A private key needs its certificate."]
    for name, settings_of_part in parts.items():
        try:
            make_context(settings_of_part)
        except TlsFailed as error:
            problems[name] = [str(error)]
    return problems


def current_revision(destination: Destination) -> DestinationRevision:
    """Return the revision that describes a destination as it is now, written if it is new."""
    values: dict[str, Any] = {
        "name": destination.name,
        "called_ae_title": destination.ae_title,
        "calling_ae_title": destination.calling_ae_title,
        "address": destination.address,
        "port": destination.port,
        "tls": destination.tls,
    }
    revision, _ = DestinationRevision.objects.get_or_create(
        destination=destination,
        digest=digest(*values.values(), destination.tls_server_name),
        defaults=values,
    )
    return revision


def _keep_slots(destination: Destination) -> None:
    """Have as many slots as associations are allowed; surplus ones stay unused."""
    DestinationSlot.objects.bulk_create(
        [
            DestinationSlot(destination=destination, number=number)
            for number in range(1, destination.max_associations + 1)
        ],
        ignore_conflicts=True,
    )
