"""How large the body of a request may be, decided when its head has come.

waitress writes a body to a temporary file before the application sees anything of it. So the limit
depends on the address, room on the disk is looked for first, and what is too large is read to its
end, kept nowhere, and answered in the user's words; a browser that is cut short shows no answer.
"""

import errno
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import Error

UNLIMITED = sys.maxsize
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class BodyRule:
    """How large bodies at an address may be.

    Attributes:
        most: bytes.
        words: what is told about a larger one.
        has_pass: tells by the cookies whether somebody may send more than `others`.
        others: bytes that anybody may send.
    """

    most: int
    words: str
    has_pass: Callable[[Mapping[str, str]], bool] = lambda _: True
    others: int = 0


@dataclass(frozen=True, slots=True)
class BodyRules:
    """The rules of a site.

    Attributes:
        by_path: exact paths; `plain` holds elsewhere.
        free_bytes: how much more the disk takes.
    """

    by_path: Mapping[str, BodyRule]
    plain: BodyRule
    free_bytes: Callable[[], int]


class Refusal(Error):  # type: ignore[misc]
    """The answer to a body that is not taken."""

    def __init__(self, code: int, reason: str, words: str) -> None:
        super().__init__(words)
        self.code, self.reason = code, reason

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body, as waitress asks for them."""
        page = (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{self.reason}</title>"
            f"<h1>{self.reason}</h1><p>{escape(str(self.body))}</p><p><a href='/'>Home</a></p>"
        )
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        return f"{self.code} {self.reason}", headers, page.encode()


class _Nothing:
    """A buffer that keeps nothing."""

    def append(self, _: bytes) -> None:
        """Take bytes."""

    def __len__(self) -> int:
        return 0

    def close(self) -> None:
        """End."""


class LimitedParser(HTTPRequestParser):  # type: ignore[misc]
    """Reads a request whose body follows the rules; subclasses have them."""

    rules: BodyRules
    body_rcv: Any
    expect_continue: bool
    _most = 0
    _words = ""
    _refusal: Refusal | None = None

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head; then decide on the body."""
        super().parse_header(header_plus)
        rule = _rule_of(self.rules, self.path, self.headers)
        self._most, self._words = rule.most, rule.words
        if self.content_length > rule.most:
            self._refuse(_too_large(rule.words))
        elif self.rules.plain.most < self.content_length > self.rules.free_bytes():
            self._refuse(_full())

    def received(self, data: bytes) -> int:
        """Take bytes of the request; return how many."""
        try:
            consumed: int = super().received(data)
        except OSError as error:
            consumed = self._spill(data, error)
        if self.chunked and self.body_bytes_received > self._most:
            self.error, self.completed = _too_large(self._words), True
        if self.completed and self._refusal is not None:
            self.error = self._refusal
        return consumed

    def _refuse(self, refusal: Refusal) -> None:
        """Have the body read and forgotten; who waits for our consent gets none."""
        self._refusal = refusal
        left = getattr(self.body_rcv, "remain", self.content_length)
        self.body_rcv = FixedStreamReceiver(left, _Nothing())
        if self.expect_continue:
            self.expect_continue = False
            self.error, self.completed = refusal, True

    def _spill(self, data: bytes, error: OSError) -> int:
        """Go on without keeping anything after the disk has failed."""
        if self.body_rcv is not None:
            self.body_rcv.getbuf().close()
        self._refuse(_full() if error.errno in _FULL else _failed(error))
        if self.chunked:
            self.completed = True
            return len(data)
        consumed: int = super().received(data)
        return consumed


def limited_channel(rules: BodyRules) -> type[HTTPChannel]:
    """Return a channel of waitress whose requests follow the rules."""
    parser = type("SiteParser", (LimitedParser,), {"rules": rules})
    return type("SiteChannel", (HTTPChannel,), {"parser_class": parser})


def _rule_of(rules: BodyRules, path: str, headers: Mapping[str, Any]) -> BodyRule:
    rule = rules.by_path.get(path, rules.plain)
    if rule is rules.plain or rule.has_pass(_cookies(headers.get("COOKIE", ""))):
        return rule
    return BodyRule(max(rule.others, rules.plain.most), rule.words)


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _too_large(words: str) -> Refusal:
    return Refusal(413, "Too large", words)


def _full() -> Refusal:
    words = "The disk of this server has no room for this upload. Nothing of it was kept."
    return Refusal(507, "No room", words)


def _failed(error: OSError) -> Refusal:
    said = (error.strerror or "unknown cause").lower()
    return Refusal(500, "Not stored", f"This could not be stored ({said}). Nothing was kept.")
