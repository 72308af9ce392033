"""Our own mistakes hold up nothing but the part in which they are made, and are told seldom."""

import pytest
from django.db import OperationalError

from sender.services.mishaps import REPEAT_SECONDS, Mishaps
from tests.services.test_vigil import Clock


def fail() -> int:
    raise LookupError("our own mistake")


def test_a_mistake_is_told_at_full_length_when_it_is_new_and_then_once_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    mishaps = Mishaps(clock)
    for _ in range(100):
        assert mishaps.contain("a part", fail, otherwise=7) == 7
    (told,) = caplog.records
    assert told.exc_info is not None
    clock.seconds += REPEAT_SECONDS
    mishaps.contain("a part", fail, otherwise=0)
    mishaps.contain("another part", fail, otherwise=0)
    assert len(caplog.records) == 3


def test_another_mistake_in_the_same_part_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    mishaps = Mishaps(Clock())
    mishaps.contain("a part", fail, otherwise=0)
    mishaps.contain("a part", lambda: 1 // 0, otherwise=0)
    assert len(caplog.records) == 2


def test_that_it_works_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    mishaps = Mishaps(Clock())
    mishaps.contain("a part", fail, otherwise=0)
    caplog.clear()
    for _ in range(2):
        assert mishaps.contain("a part", lambda: 3, otherwise=0) == 3
    assert caplog.messages == ["a part works again."]


def test_a_database_that_is_away_is_no_mistake_of_a_part() -> None:
    def lose() -> None:
        raise OperationalError("away")

    with pytest.raises(OperationalError):
        Mishaps(Clock()).contain("a part", lose, otherwise=None)
