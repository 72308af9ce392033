"""Kills everything at random in the middle of a send, and compares the account with the receiver's.

    python -m tests.soak --instances 10000 --kills 40 --seed 1 --database postgresql

Workers, the cluster's main process, its sentinel, the web server, the whole tree and PostgreSQL get
SIGKILL; the receiver is killed too, or falls silent for longer than an answer may take. Prints a
report as JSON; the exit code says whether everything held. `make soak` runs it in full, and
tests/process/test_kills.py at reduced size.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests import ledger
from tests.instances import uid_of, write_many
from tests.postgresql import PostgreSQL
from tests.processes import MANAGE, Site, await_true, make_site
from tests.receiving import ReceiverProcess

BACK_SECONDS = 30.0
"""RELIABILITY.md R7: running again within 30 s without a hand."""
LONGEST_BACK_SECONDS = 120.0
"""What is waited for, so that a report says how bad it is."""
ANSWER_SECONDS = 4.0
SILENCE_SECONDS = 7.0
STUDY = 25
VICTIMS = ("worker", "main", "sentinel", "receiver", "everything", "web", "silence")
CHECK = """
import json
from sender.models import Association, Send
from sender.services import records, rollups, tallies
wrong = [str(row.uid) for row in Association.objects.all() if not records.verify_record(row)]
print(json.dumps({"records": wrong, "rollups": rollups.verify_rollups(),
                  "parts": sum(tallies.recount(send.pk) for send in Send.objects.all())}))
"""


@dataclass(frozen=True, slots=True)
class Soak:
    """How much is sent, and how often what is killed.

    Attributes:
        sends: among how many sends the instances are divided.
        workers: as many workers as associations.
        victims: what is killed, in turn, in a random order.
        back_seconds: how soon it must work again after a kill.
    """

    instances: int
    kills: int
    seed: int
    sends: int = 4
    workers: int = 3
    victims: tuple[str, ...] = VICTIMS
    back_seconds: float = BACK_SECONDS

    def parts(self) -> dict[str, int]:
        """Return how many instances each send has, by the root of their UIDs."""
        share, rest = divmod(self.instances, self.sends)
        return {f"1.2.3.{n + 1}": share + (n < rest) for n in range(self.sends)}


@dataclass
class Report:
    """What happened; `faults` says what should not have."""

    kills: list[dict[str, object]] = field(default_factory=list)
    seconds: float = 0.0
    longest_back: float = 0.0
    allowed: int = 0
    stored_again: int = 0
    looks: int = 0
    faults: list[str] = field(default_factory=list)


class Watch:
    """Looks at the progress that people see, all the time: it never goes back."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.looks = 0
        self.faults: list[str] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        last = (0, 0)
        while not self._ended.wait(0.3):
            with contextlib.suppress(*ledger.AWAY):
                now = ledger.progress(self._site)
                if now[0] < last[0] or now[1] < last[1]:
                    self.faults.append(f"progress went back from {last} to {now}")
                last = now
                self.looks += 1


class Scene:
    """A site at work, and those who may be killed.

    Args:
        server: the site's database server, if it has one.
        migrated: a SQLite database that was migrated already.
    """

    def __init__(
        self, soak: Soak, folder: Path, server: PostgreSQL | None, migrated: Path | None
    ) -> None:
        self.soak = soak
        self.server = server
        self.chance = random.Random(soak.seed)
        database = {"DATABASE_URL": server.new_database()} if server else {}
        self.site = make_site(folder, **database)
        self.receiver = ReceiverProcess(folder / "received.jsonl")
        self.report = Report()
        self._migrated = migrated
        self._up: subprocess.Popen[bytes] | None = None

    def prepare(self) -> list[Path]:
        """Migrate, add the destination, write the instances; return the folders to send."""
        workers = str(self.soak.workers)
        sources = [
            write_many(self.site.directory / f"in{root}", count, study=STUDY, root=root)
            for root, count in self.soak.parts().items()
        ]
        if self._migrated is None:
            assert self.site.run("migrate", "-v0").returncode == 0
        else:
            data = Path(self.site.environment["CONCORDAT_DATA_DIR"])
            data.mkdir()
            shutil.copy(self._migrated, data)
        added = self.site.run(
            "destination", "add", "peer", "--address", "127.0.0.1",
            "--ae-title", "DEMO_SLOW", "--port", str(self.receiver.port),
            "--max-associations", workers,
            "--retries", "20", "--answer-timeout", str(ANSWER_SECONDS),
            "--progress-timeout", str(ANSWER_SECONDS), "--acse-timeout", str(ANSWER_SECONDS),
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        return sources

    def start(self) -> None:
        """Start the product, as systemd would."""
        with (self.site.directory / "up.txt").open("ab") as log:
            self._up = subprocess.Popen(
                [*MANAGE, "up", "--no-demo", "--workers", str(self.soak.workers)],
                env=self.site.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> int:
        """Stop the product in order; return its exit code."""
        assert self._up is not None
        self._up.send_signal(signal.SIGTERM)
        return self._up.wait(20)

    def clear(self) -> None:
        """Leave no process behind."""
        self.receiver.kill()
        for pid in self.site.processes():
            _kill(pid)
        if self._up is not None:
            self._up.wait()

    def answers(self) -> bool:
        """Tell whether the web server does."""
        address = f"http://{self.site.environment['CONCORDAT_BIND']}/healthz/"
        try:
            with urllib.request.urlopen(address, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def is_live(self) -> bool:
        """Tell whether the sender beats."""
        with contextlib.suppress(*ledger.AWAY):
            return bool(ledger.query(self.site, "SELECT 1 FROM sender_workerheartbeat"))
        return False

    # Kills

    def strike(self, victim: str) -> None:
        """Kill a victim, and wait until everything works again."""
        open_before = self.receiver.open_now()
        began, stored = time.monotonic(), self._stored()
        if stored == self.soak.instances:
            return
        {
            "worker": self._kill_worker,
            "main": self._kill_main,
            "sentinel": self._kill_sentinel,
            "web": self._kill_web,
            "everything": self._kill_everything,
            "receiver": self._kill_receiver,
            "silence": self._fall_silent,
            "database": self._kill_database,
        }[victim]()
        away, mark = time.monotonic(), len(self.receiver.events())
        is_back = {
            "web": self.answers,
            "worker": lambda: self._stored() > stored,
            "database": lambda: self._stored() > stored,
        }.get(victim, lambda: self._sends_anew(mark))
        try:
            await_true(is_back, f"work after a kill ({victim})", LONGEST_BACK_SECONDS)
        except AssertionError as error:
            self.report.faults.append(str(error))
        back = time.monotonic() - away
        self.report.longest_back = max(self.report.longest_back, back)
        if back > self.soak.back_seconds:
            self.report.faults.append(f"{back:.0f} s until work went on ({victim})")
        allowed = 0 if victim == "web" else open_before
        self.report.allowed += allowed
        self.report.kills.append(
            {
                "victim": victim,
                "stored": stored,
                "open": open_before,
                "away": round(away - began, 1),
                "back": round(back, 1),
            }
        )

    def _stored(self) -> int:
        return len(self.receiver.stored())

    def _sends_anew(self, mark: int) -> bool:
        """Tell whether something was stored in an association that was opened since."""
        new: set[int] = set()
        for event in self.receiver.events()[mark:]:
            if event["event"] == "association":
                new.add(event["association"])
            elif event["event"] == "store" and event["association"] in new:
                return True
        return self._stored() == self.soak.instances

    def _family(self) -> dict[int, list[int]]:
        """Return the children of each process of the site."""
        found: dict[int, list[int]] = {}
        for pid in self.site.processes():
            with contextlib.suppress(OSError):
                parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
                found.setdefault(parent, []).append(pid)
        return found

    def _main(self) -> int:
        """Return the main process of the cluster for bulk work, once it has its children."""
        family: dict[int, list[int]] = {}

        def find() -> list[int]:
            family.clear()
            family.update(self._family())
            clusters = self.site.processes("cluster main")
            return [
                pid for pid in clusters if any(family.get(child) for child in family.get(pid, []))
            ]

        await_true(find, "a whole cluster")
        return find()[0] if find() else self._main()

    def _sentinel(self) -> int:
        return self._family()[self._main()][0]

    def _kill_worker(self) -> None:
        _kill(self.chance.choice(sorted(self._family()[self._sentinel()])))

    def _kill_main(self) -> None:
        _kill(self._main())

    def _kill_sentinel(self) -> None:
        _kill(self._sentinel())

    def _kill_web(self) -> None:
        await_true(lambda: self.site.processes("sender.process.web"), "the web server")
        _kill(self.site.processes("sender.process.web")[0])

    def _kill_everything(self) -> None:
        assert self._up is not None
        for word in ("manage.py up", "sender.process"):
            for pid in self.site.processes(word):
                _kill(pid)
        self._up.wait()
        self.start()

    def _kill_receiver(self) -> None:
        self.receiver.kill()
        self._pause(1.0)
        self.receiver.start()

    def _fall_silent(self) -> None:
        self.receiver.freeze()
        self._pause(SILENCE_SECONDS)
        self.receiver.thaw()

    def _kill_database(self) -> None:
        assert self.server is not None
        self.server.kill()
        self._pause(self.chance.uniform(0.5, 6.0))
        self.server.start()

    def _pause(self, seconds: float) -> None:
        """Leave something away for a while: that is what is tested, not a wait for anything."""
        threading.Event().wait(seconds)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def run(
    soak: Soak, folder: Path, server: PostgreSQL | None = None, migrated: Path | None = None
) -> Report:
    """Run a soak; return its report."""
    scene = Scene(soak, folder, server, migrated)
    try:
        _run(scene)
    finally:
        scene.clear()
    return scene.report


def _run(scene: Scene) -> None:
    soak, report = scene.soak, scene.report
    sources = scene.prepare()
    began = time.monotonic()
    with scene.receiver:
        scene.start()
        await_true(lambda: scene.answers() and scene.is_live(), "the product")
        with Watch(scene.site) as watch, _sending(scene, sources) as clients:
            for reached, victim in _schedule(soak, scene.chance):
                await_true(lambda: scene._stored() >= reached, f"instance {reached}", 600)  # noqa: B023
                scene.strike(victim)
            codes = [_await_end(client) for client in clients]
        report.seconds = time.monotonic() - began
        report.looks = watch.looks
        report.faults += watch.faults
        _expect(report, not any(codes), f"the commands ended with exit codes {codes}")
        _expect(report, len(report.kills) > soak.kills // 2, "too much was sent between kills")
        if stopped := scene.stop():
            report.faults.append(f"`up` ended with exit code {stopped}")
        _compare(scene)


@contextlib.contextmanager
def _sending(scene: Scene, sources: list[Path]) -> Iterator["list[subprocess.Popen[bytes]]"]:
    """Send folders by one command each, which wait for the end."""
    with (scene.site.directory / "send.txt").open("ab") as log:
        clients = [
            subprocess.Popen(
                [*MANAGE, "send", str(source), "--to", "peer", "--json"],
                env=scene.site.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for source in sources
        ]
        try:
            yield clients
        finally:
            for client in clients:
                client.kill()
                client.wait()


def _await_end(client: "subprocess.Popen[bytes]") -> int:
    try:
        return client.wait(900)
    except subprocess.TimeoutExpired:
        return -1


def _schedule(soak: Soak, chance: random.Random) -> list[tuple[int, str]]:
    """Return after how many instances which victim is killed."""
    victims = [soak.victims[n % len(soak.victims)] for n in range(soak.kills)]
    chance.shuffle(victims)
    step = soak.instances * 0.9 / soak.kills
    places = [int(step * (n + chance.uniform(0.1, 0.9))) for n in range(soak.kills)]
    return list(zip(places, victims, strict=True))


def _compare(scene: Scene) -> None:
    """Compare the account with the receiver's record, and with itself."""
    site, report, total = scene.site, scene.report, scene.soak.instances
    parts = scene.soak.parts()
    everything = {uid_of(n, root) for root, count in parts.items() for n in range(count)}
    rows: Counter[tuple[str, ...]] = Counter()
    for number in range(len(parts)):
        account = site.run("export_send", str(number + 1)).stdout.splitlines()[1:]
        rows.update(tuple(line.split(",")[:2]) for line in account)
    _expect(report, set(rows) == {(uid, "sent") for uid in everything}, f"rows {_odd(rows)}")
    _expect(report, set(rows.values()) == {1}, "an instance has several rows")
    received = scene.receiver.stored()
    missing = everything - set(received)
    _expect(report, not missing, f"{len(missing)} of them never came")
    report.stored_again = sum(received.values()) - len(received)
    _expect(
        report,
        report.stored_again <= report.allowed,
        f"{report.stored_again} were sent again, {report.allowed} are allowed",
    )
    attempts = "SELECT count(*), count(DISTINCT item_id) FROM sender_instanceattempt"
    acknowledged = ledger.query(site, f"{attempts} WHERE outcome = 'sent'")[0]
    _expect(report, acknowledged == (total, total), f"acknowledged: {acknowledged} of {total}")
    _expect(report, ledger.progress(site) == (total, total), f"{ledger.progress(site)} at the end")
    checked = json.loads(site.run("shell", "-v0", "-c", CHECK).stdout.strip().splitlines()[-1])
    _expect(report, not any(checked.values()), f"the history does not add up: {checked}")
    left = list((Path(site.environment["CONCORDAT_DATA_DIR"]) / "journal").glob("*"))
    _expect(report, not left, f"{len(left)} journals are left")


def _expect(report: Report, holds: bool, fault: str) -> None:
    if not holds:
        report.faults.append(fault)


def _odd(rows: Counter[tuple[str, ...]]) -> dict[str, int]:
    return dict(Counter(row[1] if len(row) > 1 else "?" for row in rows))


def main() -> int:
    """Run a soak from the shell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--sends", type=int, default=4)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="concordat-soak-")))
        server: PostgreSQL | None = None
        victims: tuple[str, ...] = VICTIMS
        if options.database == "postgresql":
            server = stack.enter_context(PostgreSQL())
            victims = (*VICTIMS, "database")
        soak = Soak(
            options.instances, options.kills, options.seed, options.sends, options.workers, victims
        )
        report = run(soak, folder, server)
        if report.faults:
            _keep_logs(folder)
    sys.stdout.write(json.dumps({"soak": asdict(soak), **asdict(report)}, indent=1) + "\n")
    return 1 if report.faults else 0


def _keep_logs(site: Path) -> None:
    """Show what the product said, where something did not hold."""
    for path in [*sorted((site / "var/logs").glob("*.log")), site / "up.txt", site / "send.txt"]:
        if path.exists():
            sys.stderr.write(f"--- {path.name}\n{path.read_text(errors='replace')[-8000:]}\n")


if __name__ == "__main__":
    sys.exit(main())
