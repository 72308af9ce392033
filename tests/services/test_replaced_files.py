"""Files replaced after they were listed by others of the same size and modification time."""

import os
from pathlib import Path

import pytest

from sender.dicom.acceptor import Profile, Receiver
from sender.models import SendItem
from sender.services import engine
from tests import factories
from tests.services.test_control import planned
from tests.services.test_sending import at, outcomes

pytestmark = pytest.mark.usefixtures("live_db")
AT = 1_700_000_000


def two_alike(folder: Path) -> list[Path]:
    """Write two instances whose files have the same size and modification time."""
    folder.mkdir()
    paths = [
        factories.write_instance(folder / f"{n}.dcm", sop_instance=f"1.2.3.{n}") for n in (1, 2)
    ]
    for path in paths:
        os.utime(path, (AT, AT))
    assert paths[0].stat().st_size == paths[1].stat().st_size
    return paths


@pytest.mark.parametrize("takes", [(), (factories.ILE,)], ids=["as it is", "converted"])
def test_a_file_that_holds_another_instance_now_is_not_sent(
    tmp_path: Path, takes: tuple[str, ...]
) -> None:
    first, second = two_alike(tmp_path / "in")
    profile = Profile(transfer_syntaxes=takes or None)
    kept = tmp_path / "kept"
    kept.mkdir()
    with Receiver(port=0, profiles={"PACS": profile}, keep=kept) as receiver:
        to = at(receiver, ae_title="PACS", max_associations=1)
        send = planned(to, tmp_path / "in", retries=0)
        os.replace(second, first)
        engine.work(to.pk)
    assert outcomes(send) == {"failed": 2}
    replaced = SendItem.objects.get(file__sop_instance_uid="1.2.3.1")
    assert "changed after it was listed" in replaced.reason
    assert os.listdir(kept) == []


def test_a_file_of_which_only_rights_or_name_changed_is_sent(tmp_path: Path) -> None:
    first, second = two_alike(tmp_path / "in")
    with Receiver(port=0, profiles={"PACS": Profile()}) as receiver:
        to = at(receiver, ae_title="PACS", max_associations=1)
        send = planned(to, tmp_path / "in")
        first.chmod(0o640)
        os.link(second, tmp_path / "link.dcm")
        engine.work(to.pk)
    assert outcomes(send) == {"sent": 2}
