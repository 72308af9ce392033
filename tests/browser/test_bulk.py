"""One send of a folder to Orthanc, storescp and dcmqrscp at once, steered in a real browser.

What the pages say is compared with what each receiver really stored. A limit of instances per
second makes sure that each send is under way when it is paused, and is taken away after that.
"""

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pydicom import dcmread

from tests import factories, peers
from tests.browser.conftest import PASSWORD, Visitor, answers
from tests.processes import MANAGE, Site, await_true, free_port, make_site

pytestmark = [pytest.mark.browser, pytest.mark.peers, pytest.mark.slow]
STUDIES, PER_STUDY = 3, 25
PER_SECOND = "2"
UIDS = {f"1.2.3.{number}" for number in range(STUDIES * PER_STUDY)}
Peers = dict[str, peers.RunningPeer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies of CT."""
    made = tmp_path_factory.mktemp("in")
    for number in range(len(UIDS)):
        factories.write_instance(
            made / f"{number}.dcm",
            sop_instance=f"1.2.3.{number}",
            study=f"1.2.3.826.{number // PER_STUDY}",
        )
    return made


@pytest.fixture
def starting(folder: Path, tmp_path: Path) -> Iterator[Site]:
    """A site of its own that may read the folder; it starts while the peers do."""
    site = make_site(tmp_path, CONCORDAT_SOURCE_ROOTS=str(folder))
    with site.running([*MANAGE, "up", "--workers", "4", "--no-demo"]) as up:
        yield site
        up.send_signal(signal.SIGTERM)
        assert up.wait(10) == 0, site.output


@pytest.fixture
def receivers(starting: Site, tmp_path: Path) -> Iterator[Peers]:
    """The three peers, by the name that they get as destinations."""
    with ExitStack() as stack:
        found = {}
        for name, start in (
            ("Orthanc", peers.orthanc),
            ("storescp", lambda place: peers.storescp(place, "+B")),
            ("dcmqrscp", peers.dcmqrscp),
        ):
            (tmp_path / name).mkdir()
            found[name] = stack.enter_context(start(tmp_path / name))
        yield found


@pytest.fixture
def window(browser: Browser, starting: Site, receivers: Peers) -> Iterator[Visitor]:
    """The administrator's window on the site."""
    address = f"http://{starting.environment['CONCORDAT_BIND']}"
    await_true(lambda: "Ctrl-C stops it." in starting.output, "the greeting")
    link = next(line.strip() for line in starting.output.splitlines() if "/setup/" in line)
    await_true(lambda: answers(address), "the web server")
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    made = Visitor(context.new_page(), context, address)
    made.watch(made.page)
    become_administrator(made.page, link)
    yield made
    context.close()
    assert made.complaints == []


def become_administrator(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("Name", exact=True).fill("ada")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.get_by_role("button", name="Create the administrator").click()
    expect(page.get_by_role("heading", name="Get started")).to_be_visible()


def add_destination(window: Visitor, name: str, peer: peers.RunningPeer) -> None:
    page = window.page
    window.go("/destinations/add/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("AE title", exact=True).fill(peer.ae_title)
    page.get_by_label("Address").fill("127.0.0.1")
    page.get_by_label("Port").fill(str(peer.port))
    page.get_by_label("Associations at once").fill("1")
    page.get_by_label("Instances per second").fill(PER_SECOND)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def change_destination(window: Visitor, name: str, **fields: str) -> None:
    page = window.page
    window.go("/destinations/")
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("link", name="Edit").click()
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " ")).fill(value)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def order(window: Visitor, folder: Path, names: list[str]) -> dict[str, str]:
    """Order and start one send of the folder to all; return the address of each."""
    page = window.page
    window.go("/sends/new/")
    page.get_by_label("Folders or files, one per line").fill(str(folder))
    for row, name in enumerate(names):
        if row:
            page.get_by_role("button", name="Another destination").click()
        page.get_by_label("Destination", exact=True).nth(row).select_option(label=name)
    page.get_by_text("Times, urgency, attempts").click()
    page.get_by_label("Automatic attempts after the first").fill("0")
    page.get_by_role("button", name="List the files and plan").click()
    start = page.get_by_role("button", name="Start all 3 sends")
    expect(start).to_be_enabled()
    start.click()
    links = {}
    for name in names:
        address = page.get_by_role("link", name=name, exact=True).get_attribute("href")
        assert address is not None
        links[name] = address
    return links


def state(page: Page) -> str:
    return page.locator("#send .badge").first.inner_text()


def counted(page: Page, word: str) -> int:
    """Return how many instances the page counts under a word, like Sent."""
    found = page.locator("#send .legend li", has_text=word).locator("strong")
    return int(found.first.inner_text().replace(",", "")) if found.count() else 0


def await_state(window: Visitor, address: str, wanted: str) -> None:
    """Look at a send until it is in a state, by its own polling."""
    window.go(address)
    expect(window.page.locator("#send .badge").first).to_have_text(wanted)


def pause_in_the_middle(window: Visitor, address: str) -> None:
    window.go(address)
    await_true(lambda: counted(window.page, "Sent") >= 2, "two instances")
    window.page.get_by_role("button", name="Pause", exact=True).click()
    expect(window.page.get_by_role("button", name="Resume")).to_be_visible()


def await_rest(window: Visitor, address: str) -> None:
    """Look until a send is paused and none of its associations is at work."""

    def is_at_rest() -> bool:
        window.go(address)
        at_work = window.page.get_by_role("heading", name="Associations at work").count()
        return state(window.page) == "Paused" and not at_work

    await_true(is_at_rest, "rest")


def called_sent(window: Visitor, address: str) -> set[str]:
    """Return the instances that the account of a send calls sent."""
    answer = window.context.request.get(f"{window.address}{address}instances.csv")
    assert answer.ok, answer.status
    rows = [line.split(",") for line in answer.text().splitlines()[1:]]
    assert {row[0] for row in rows} == UIDS
    return {row[0] for row in rows if row[1] == "sent"}


def stored(peer: peers.RunningPeer) -> set[str]:
    """Return the SOP Instance UIDs of what a receiver really has."""
    if peer.http_port:
        base = f"http://127.0.0.1:{peer.http_port}/instances?expand"
        with urllib.request.urlopen(base) as answer:
            return {entry["MainDicomTags"]["SOPInstanceUID"] for entry in json.load(answer)}
    files = [path for path in peer.stored.rglob("*") if is_instance(path)]
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files}


def is_instance(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[128:132] == b"DICM"


def test_a_send_to_three_peers_is_paused_resumed_cancelled_and_retried(
    window: Visitor, receivers: Peers, folder: Path
) -> None:
    page, names = window.page, list(receivers)
    for name, peer in receivers.items():
        add_destination(window, name, peer)
    sends = order(window, folder, names)

    for name in names:
        pause_in_the_middle(window, sends[name])
    for name in names:
        await_rest(window, sends[name])
    at_rest = {name: stored(receivers[name]) for name in names}
    for name in names:
        assert 2 <= len(at_rest[name]) < len(UIDS)
        assert called_sent(window, sends[name]) == at_rest[name], name

    # Resumed, one goes on to its end.
    change_destination(window, "storescp", Instances_per_second="")
    window.go(sends["storescp"])
    page.get_by_role("button", name="Resume").click()
    await_state(window, sends["storescp"], "Succeeded")
    assert stored(receivers["storescp"]) == called_sent(window, sends["storescp"]) == UIDS

    # Cancelled, one keeps what it has, and is sent again on purpose.
    assert stored(receivers["Orthanc"]) == at_rest["Orthanc"], "it was paused"
    change_destination(window, "Orthanc", Instances_per_second="")
    window.go(sends["Orthanc"])
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("button", name=re.compile("Cancel")).click()
    await_state(window, sends["Orthanc"], "Cancelled")
    assert counted(page, "Cancelled") == len(UIDS) - len(at_rest["Orthanc"])
    assert stored(receivers["Orthanc"]) == called_sent(window, sends["Orthanc"])
    page.get_by_role("link", name="Send again…").click()
    page.get_by_label("Reason").fill("it was cancelled by mistake")
    page.get_by_role("button", name="Send everything again").click()
    expect(page.locator("#send .badge").first).to_have_text("Succeeded")
    again = page.url.removeprefix(window.address)
    assert again != sends["Orthanc"]
    assert stored(receivers["Orthanc"]) == called_sent(window, again) == UIDS

    # Resumed while its port is wrong, one fails, and is retried once that is mended.
    change_destination(window, "dcmqrscp", Instances_per_second="", Port=str(free_port()))
    window.go(sends["dcmqrscp"])
    page.get_by_role("button", name="Resume").click()
    await_state(window, sends["dcmqrscp"], "Partly sent")
    assert stored(receivers["dcmqrscp"]) == at_rest["dcmqrscp"]
    assert counted(page, "Failed") == len(UIDS) - len(at_rest["dcmqrscp"])
    change_destination(window, "dcmqrscp", Port=str(receivers["dcmqrscp"].port))
    window.go(sends["dcmqrscp"])
    page.get_by_role("button", name="Retry failed and unknown").click()
    await_state(window, sends["dcmqrscp"], "Succeeded")
    assert stored(receivers["dcmqrscp"]) == called_sent(window, sends["dcmqrscp"]) == UIDS
