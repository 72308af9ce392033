"""The processes that the product consists of."""

from sender.process.supervisor import Child, python_command
from sender.process.watchdog import Watchdog


def sender_children(workers: int) -> list[Child]:
    """Return the sender's two clusters: bulk work, and what a person waits for."""
    cluster = "sender.process.cluster"
    main = python_command(cluster, "main", "--workers", str(workers), "--exit-with-stdin")
    return [
        Child("sender", main, Watchdog().is_stuck),
        Child(
            "interactive sender",
            python_command(cluster, "ui", "--workers", "1", "--exit-with-stdin"),
        ),
    ]


def web_child(bind: str) -> Child:
    """Return the web server."""
    return Child(
        "web server", python_command("sender.process.web", "--bind", bind, "--exit-with-stdin")
    )


def demo_child(port: int) -> Child:
    """Return the demo receiver, which listens on the loopback interface only."""
    return Child(
        "demo receiver",
        python_command("sender.dicom.acceptor", "--port", str(port), "--exit-with-stdin"),
    )
