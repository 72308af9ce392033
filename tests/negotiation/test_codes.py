"""Codes of peers in words; reserved ones are told as such, and never without their numbers."""

import pytest

from sender.negotiation.codes import say_abort, say_rejection
from sender.negotiation.outcomes import Rejection


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ((1, 1, 7), "called AE title not recognised (permanent, by the service user, 1/1/7)"),
        (
            (2, 3, 2),
            "local limit exceeded (transient, by the service provider (presentation), 2/3/2)",
        ),
        ((1, 2, 3), "reserved reason (permanent, by the service provider (ACSE), 1/2/3)"),
        ((9, 0, 255), "reserved reason (reserved result, by the reserved source, 9/0/255)"),
    ],
)
def test_a_rejection_is_said_with_its_codes(codes: tuple[int, int, int], said: str) -> None:
    assert say_rejection(Rejection(*codes)) == f"The peer rejected the association: {said}."


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ((0, 0), "no reason given (by the service user, 0/0)"),
        ((0, 2), "no reason given (by the service user, 0/2)"),
        ((2, 2), "unexpected PDU (by the service provider, 2/2)"),
        ((2, 3), "reserved reason (by the service provider, 2/3)"),
        ((1, 1), "reserved reason (by the reserved source, 1/1)"),
    ],
)
def test_an_abort_is_said_with_its_codes(codes: tuple[int, int], said: str) -> None:
    assert say_abort(*codes) == said
