"""Numbers as pages show them."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from sender.negotiation.outcomes import AssociationKind, PeerIdentity
from sender.services import holds
from sender.web import tags
from tests import factories


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "file", "0 files"),
        (1, "file", "1 file"),
        (2000, "row", "2,000 rows"),
        (1, "study,studies", "1 study"),
        (2, "study,studies", "2 studies"),
        (1, "file holds,files hold", "1 file holds"),
        (None, "file", "– files"),
    ],
)
def test_a_number_stands_beside_its_noun(number: int | None, noun: str, said: str) -> None:
    assert tags.counted(number, noun) == said


def test_the_end_of_a_pause_names_its_zone(as_role: Callable[[str], Client]) -> None:
    to = factories.destination(retries=0)
    holds.pause(to, reason="moved", until=datetime.now(UTC) + timedelta(hours=4), actor="ada")
    page = as_role("viewer").get(f"/destinations/{to.pk}/").content.decode()
    assert re.search(r"<br>until <time [^>]*>[^<]*</time> UTC</dd>", page)
    assert "<dt>Attempts</dt><dd>only one</dd>" in page


def test_a_length_that_no_peer_told_is_not_said(as_role: Callable[[str], Client]) -> None:
    silent = factories.outcome(kind=AssociationKind.TCP_FAILED)
    row = factories.recorded(factories.destination(), replace(silent, peer=PeerIdentity()))
    page = as_role("viewer").get(f"/history/{row.pk}/").content.decode()
    assert f"ours {row.local_maximum_length}, peer's not said</dd>" in page
