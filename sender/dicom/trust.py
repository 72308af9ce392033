"""Whom we trust and as whom we come, in TLS: files to a context. Loads no DICOM library."""

import ssl

from sender.negotiation.peers import TlsSettings


class TlsFailed(OSError):
    """The handshake failed, or the peer ended the connection by a TLS alert.

    Attributes:
        chain: the certificates that the peer presented, DER, its own first; what did not hold
            may well be in there.
    """

    def __init__(self, message: str, *, chain: tuple[bytes, ...] = ()) -> None:
        super().__init__(message)
        self.chain = chain


def make_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context of a destination.

    All versions of Python verify alike: what is trusted may be an authority (root or not) or the
    peer's own certificate, and authorities of hospitals that leave out what RFC 5280 wants of
    them, but OpenSSL does not need, are good.

    Raises:
        TlsFailed: a file is missing or is no certificate or key; the message says which.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
    if not settings.authorities:
        context.load_default_certs()
    for file in settings.authorities:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise TlsFailed(f"The authorities in {file}: {say_cause(error)}.") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if settings.cert_file:
        _load_our_certificate(context, settings)
    return context


def _load_our_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    def ask() -> str:
        # Without this the library would ask on the terminal, and wait there for ever.
        raise _PassphraseWanted

    try:
        context.load_cert_chain(settings.cert_file, settings.key_file or None, password=ask)
    except _PassphraseWanted as error:
        raise TlsFailed(
            f"The key is encrypted; {settings.key_file or settings.cert_file} has a passphrase, "
            "which we don't have and never ask for: write the key without one."
        ) from error
    except (OSError, ssl.SSLError) as error:
        raise TlsFailed(
            f"Our certificate {settings.cert_file} and its key: {say_cause(error)}."
        ) from error


class _PassphraseWanted(Exception):
    """The private key is encrypted."""


def say_cause(error: OSError) -> str:
    """Say what went wrong, without the library's line numbers; its own words follow ours."""
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    words = str(reason).replace("_", " ").lower()
    meaning = _MEANINGS.get(str(reason))
    return f"{meaning} ({words})" if meaning else words


def is_alert(error: ssl.SSLError) -> bool:
    """Tell whether it is an alert of the peer; else what it sent could not be taken."""
    return "ALERT" in str(error.reason)


_OLD = "the peer has no version of TLS from 1.2 on, and no older one is used"
_MEANINGS = {
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "UNSUPPORTED_PROTOCOL": _OLD,
    "WRONG_VERSION_NUMBER": "what the peer answered is no TLS; it may expect DICOM without it",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer agrees to none of our ciphers, or misses a "
    "certificate of ours",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer asks for a certificate of ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says that our certificate was revoked",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust who issued our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer refuses our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer refuses this kind of certificate of ours",
    "TLSV1_ALERT_ACCESS_DENIED": "the peer does not admit whom our certificate names",
}
"""What the names that OpenSSL gives to errors and alerts mean to whoever has to mend it."""
