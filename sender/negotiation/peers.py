"""Whom we associate with and how long we wait for it, as a value."""

from dataclasses import dataclass

from sender.negotiation.ae_titles import parse_ae_title

DEFAULT_CALLING_AE_TITLE = "CONCORDAT"
DEFAULT_MAXIMUM_LENGTH = 131072


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds after which a step is given up.

    Attributes:
        connect: name resolution and TCP connect together.
        tls: the TLS handshake.
        acse: the answer to A-ASSOCIATE-RQ, whole; and the answer to A-RELEASE-RQ.
        progress: no byte could be sent while a request is being sent.
        answer: no byte of the answer came after a request was sent whole.
    """

    connect: float = 10.0
    tls: float = 15.0
    acse: float = 30.0
    progress: float = 60.0
    answer: float = 60.0


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How a connection is secured (PS3.15 annex B.9): always TLS 1.2 or newer, always verified.

    Attributes:
        ca_file: certificates of authorities, PEM, as many as are trusted; "": see `ca_files`.
        cert_file, key_file: our certificate and its private key, PEM; "": none.
        server_name: the name that the peer's certificate must have; "": the peer's address.
        ca_files: further files of authorities, each trusted beside the others. Without any file
            at all the system's authorities are trusted.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    ca_files: tuple[str, ...] = ()

    @property
    def authorities(self) -> tuple[str, ...]:
        """All files of authorities."""
        return tuple(filter(None, (self.ca_file, *self.ca_files)))


@dataclass(frozen=True, slots=True)
class Peer:
    """An acceptor as the requestor needs it; without `tls` the connection is plain.

    Raises:
        InvalidAETitle: an AE title breaks the rules of the standard.
        ValueError: the port is not 1 to 65535.
    """

    address: str
    port: int
    called_ae_title: str
    calling_ae_title: str = DEFAULT_CALLING_AE_TITLE
    timeouts: Timeouts = Timeouts()
    maximum_length: int = DEFAULT_MAXIMUM_LENGTH
    tls: TlsSettings | None = None

    def __post_init__(self) -> None:
        parse_ae_title(self.called_ae_title)
        parse_ae_title(self.calling_ae_title)
        if not 1 <= self.port <= 65535:
            raise ValueError(f"A port is a number from 1 to 65535, not {self.port}.")
