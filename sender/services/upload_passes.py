"""Who has seen the page for uploads may send large bodies: a signed cookie, no query needed.

The web server stores a body before anything asks who sends it; without this anybody could fill the
disk. Whether the upload is taken is decided later, by the rights of the user.
"""

from collections.abc import Mapping

from django.core.signing import BadSignature, TimestampSigner

COOKIE = "may_upload"
LASTS_SECONDS = 12 * 3600


def issue() -> str:
    """Return the value of a new cookie."""
    return TimestampSigner(salt="sender.upload").sign("1")


def is_held(cookies: Mapping[str, str]) -> bool:
    """Tell whether cookies hold a pass that is still good."""
    try:
        TimestampSigner(salt="sender.upload").unsign(cookies.get(COOKIE, ""), max_age=LASTS_SECONDS)
    except BadSignature:
        return False
    return True
