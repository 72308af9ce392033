"""What tests of services have in common."""

from collections.abc import Iterator

import pytest

from sender.dicom.acceptor import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver with the demo's profiles."""
    with Receiver(port=0, keep=None) as running:
        yield running
