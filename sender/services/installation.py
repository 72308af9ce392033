"""Facts fixed for this installation: the site's time zone decides where a day begins."""

from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from sender.models import Installation


@lru_cache(maxsize=1)
def site_zone() -> ZoneInfo:
    """Return the time zone that was fixed by the first migration."""
    return ZoneInfo(Installation.objects.values_list("time_zone", flat=True).get())


def site_day(moment: datetime) -> date:
    """Return the site-local day of a moment."""
    return moment.astimezone(site_zone()).date()
