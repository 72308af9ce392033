"""Door for django-q2: each task takes one id and says whose work it is."""

from sender.services import engine, planner, probing, run_starting, sending


def plan_send(send_id: int) -> None:
    """List the sources of a send and plan it; if it was started, begin to send at once."""
    planner.plan_send(send_id)
    destination_id = sending.destination_of_started(send_id)
    if destination_id is not None:
        engine.work(destination_id)


def work_for_destination(destination_id: int) -> None:
    """Send batches of a destination that are due."""
    engine.work(destination_id)


def probe_destination(hold_id: int) -> None:
    """Negotiate with a destination that is blocked."""
    probing.probe_destination(hold_id)


def start_run(run_id: int) -> None:
    """Look at the sources of a schedule's run and create its sends."""
    run_starting.start_run(run_id)


def answer_enquiry(enquiry_id: int) -> None:
    """Run an echo or a negotiation that a person asked for."""
    probing.answer_enquiry(enquiry_id)
