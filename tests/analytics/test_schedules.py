"""How runs of schedules stand, read off their sends."""

import pytest

from sender.analytics.schedules import RunAccount, RunOutcome
from sender.models import RunState, ScheduleRun, Send, SendState


@pytest.mark.parametrize("state", [RunState.CHECKED, RunState.STARTED])
def test_a_send_that_an_error_of_ours_ended_stands_for_its_run(state: RunState) -> None:
    sends = (Send(state=SendState.ERRORED), Send(state=SendState.FAILED))
    account = RunAccount(run=ScheduleRun(state=state), sends=sends, counts={})
    assert account.outcome == RunOutcome.ERRORED
