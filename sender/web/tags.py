"""Template tags and filters: marks, names, numbers and times as pages show them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django import template
from django.conf import settings
from django.http import HttpRequest, QueryDict
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sender.analytics.overview import Strip
from sender.analytics.schedules import RunOutcome
from sender.analytics.sends import AtWork, FailureGroup
from sender.models import Send, SendState
from sender.negotiation import retry, sop_classes, stalls, syntaxes
from sender.negotiation.outcomes import AssociationKind, InstanceOutcome, Verdict
from sender.negotiation.stalls import Whose
from sender.services import uploads
from sender.web import words
from sender.web.access import may

register = template.Library()


@register.filter
def syntax(uid: str) -> str:
    """Name a transfer syntax shortly."""
    return syntaxes.short_name_of(uid)


@register.filter
def was_lossy(kind: Any) -> bool:
    """Tell whether data lost information though their transfer syntax loses none.

    Args:
        kind: a kind of data, with `transfer_syntax` and `lossy`; a dict or an object.
    """
    read = kind.__getitem__ if isinstance(kind, dict) else partial(getattr, kind)
    return read("lossy") is True and syntaxes.is_lossy(str(read("transfer_syntax"))) is False


@register.filter
def family(uid: str) -> str:
    """Name the family of a transfer syntax."""
    found = syntaxes.find(uid)
    return found.family.value if found else "Private"


@register.filter
def sop_class(uid: str) -> str:
    """Name a SOP class."""
    return sop_classes.name_of(uid)


@register.filter
def why_nothing_planned(send: Send) -> str:
    """Say why the plan of a send holds no kind of data."""
    return words.say_nothing_planned(
        excluded=send.listing.excluded_files if send.listing else 0,
        already_there=send.already_there,
        unreadable=send.plan.get("unreadable", 0),
    )


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """Show a time to the second in the chosen zone, with the instant in ISO 8601."""
    if value is None:
        return "–"
    shown = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        value.isoformat(timespec="milliseconds"),
        shown.strftime("%Y-%m-%d %H:%M:%S"),
    )


@register.filter
def count(value: int | None) -> str:
    """Show a number with thousands apart."""
    return "–" if value is None else f"{value:,}"


@register.filter
def counted(value: int | None, noun: str) -> str:
    """Show a number with its noun: "1 file", "2,000 files"; of irregular nouns give both."""
    one, _, many = noun.partition(",")
    return f"{count(value)} {one if value == 1 else many or f'{one}s'}"


@register.filter
def percent(value: float | None) -> str:
    """Show a fraction as a percentage; nothing known is a dash."""
    return "–" if value is None else f"{value * 100:.1f} %"


@register.filter
def size(value: int | None) -> str:
    """Show bytes in decimal units."""
    if value is None:
        return "–"
    number = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


@register.filter
def seconds(value: float | None) -> str:
    """Show a duration."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


@register.filter
def status(value: int | None) -> str:
    """Show a DIMSE status as four hexadecimal digits."""
    return "–" if value is None else f"{value:04X}"


@register.filter
def lookup(mapping: Mapping[Any, Any], key: Any) -> Any:
    """Return a mapping's value, "" if there is none."""
    return mapping.get(key, "")


@register.filter
def has_right(user: Any, right: str) -> bool:
    """Tell whether a user has a right."""
    return may(user, right)


@register.filter
def conversion(value: str) -> str:
    """Say what was done to data before they were sent."""
    return words.CONVERSIONS.get(value, value)


@register.filter
def trigger(value: str) -> str:
    """Say what an association was opened for."""
    return words.TRIGGERS.get(value, value)


@register.filter
def ended(value: str) -> str:
    """Say how an association ended."""
    return words.ENDED.get(value, value)


@register.filter
def why(reason: str) -> str:
    """Return the reason of a row as pages say it; accounts have the same word as CONTRACT.md."""
    return words.REASONS.get(reason, reason)


@register.filter
def remark(text: str, sees_identifiers: bool) -> str:
    """Return what a send or a listing has to say, to whom source paths are for or not."""
    return uploads.in_words([text])[0] if sees_identifiers else words.without_paths(text)


@register.filter
def in_words(paths: Sequence[str]) -> list[str]:
    """Return the sources of a send as people know them: an upload by its name."""
    return uploads.in_words(paths)


@register.filter
def remedy(group: FailureGroup) -> str:
    """Say what helps where nothing can be tried again."""
    return words.say_remedy(group)


@register.filter
def rule(name: str) -> str:
    """Say what a retry rule means and what follows."""
    return retry.describe(name, base_seconds=settings.RETRY_BASE_SECONDS)


@register.inclusion_tag("sender/_badge.html")
def verdict_badge(verdict: str) -> dict[str, Any]:
    """Show one of the four outcomes of a proposal."""
    return {"mark": words.VERDICTS[Verdict(verdict)], "exact": verdict.replace("_", " ")}


@register.inclusion_tag("sender/_badge.html")
def outcome_badge(outcome: str) -> dict[str, Any]:
    """Show how a negotiation ended."""
    return {"mark": words.ASSOCIATIONS[AssociationKind(outcome)]}


@register.inclusion_tag("sender/_badge.html")
def stall_badge(whose: Whose) -> dict[str, Any]:
    """Show who keeps an association waiting."""
    return {"mark": words.STALLS[whose]}


@register.inclusion_tag("sender/_badge.html")
def opening_badge(row: AtWork) -> dict[str, Any]:
    """Show what an association waits for that is being opened for long."""
    return {"mark": words.NO_ANSWER if row.is_proposed else words.NO_CONNECTION}


@register.filter
def stall(whose: Whose) -> str:
    """Say who keeps an association waiting."""
    return stalls.SAID[whose]


@register.inclusion_tag("sender/_badge.html")
def state_badge(state: str) -> dict[str, Any]:
    """Show the state of a send."""
    return {"mark": words.SEND_STATES[SendState(state)]}


@register.inclusion_tag("sender/_badge.html")
def run_badge(outcome: str) -> dict[str, Any]:
    """Show how a run of a schedule stands."""
    return {"mark": words.RUN_OUTCOMES[RunOutcome(outcome)]}


@register.inclusion_tag("sender/_badge.html")
def instance_badge(outcome: str) -> dict[str, Any]:
    """Show what became of an instance."""
    return {"mark": words.INSTANCES[InstanceOutcome(outcome)]}


@register.filter
def instance_word(outcome: str) -> str:
    """Say what became of an instance, within a sentence."""
    return words.INSTANCES[InstanceOutcome(outcome)].word.lower()


@register.inclusion_tag("sender/_bar.html")
def bar(label: str, *parts: Any) -> dict[str, Any]:
    """Draw a stacked bar of pairs (tone, number)."""
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    return {"label": label, "segments": segments(pairs)}


@register.inclusion_tag("sender/_bar.html")
def progress_bar(label: str, counts: Mapping[InstanceOutcome, int]) -> dict[str, Any]:
    """Draw what became of the rows of a send."""
    pairs = [(words.INSTANCES[o].tone, counts.get(o, 0)) for o in words.INSTANCES]
    return {"label": label, "segments": segments(pairs), "is_large": True}


def segments(pairs: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Return the segments of a bar in percent, numbers that are 0 left out."""
    total = sum(number for _, number in pairs)
    found, start = [], 0.0
    for tone, number in pairs:
        if number:
            width = 100.0 * number / total
            found.append({"tone": tone, "start": f"{start:.3f}", "width": f"{width:.3f}"})
            start += width
    return found


@register.simple_tag(takes_context=True)
def with_query(context: template.Context, **changes: Any) -> str:
    """Return this page's query string with some parameters set, or left out (None)."""
    request: HttpRequest = context["request"]
    query: QueryDict = request.GET.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value not in (None, ""):
            query[name] = str(value)
    return f"?{query.urlencode()}"


@register.simple_tag
def query(**parameters: Any) -> str:
    """Return a query string of some parameters."""
    made = QueryDict(mutable=True)
    for name, value in parameters.items():
        if value not in (None, ""):
            made[name] = str(value)
    return f"?{made.urlencode()}"


@register.simple_tag
def strip_cells(strip: Strip) -> list[dict[str, str]]:
    """Return the cells of a destination's strip, one per day, in percent of its width."""
    width = 100 / len(strip.days)
    heights = {"none": ("7", "4"), "rejected": ("4", "14")}
    found = []
    for index, day in enumerate(strip.days):
        y, height = heights.get(day.tone, ("1", "16"))
        said = f"{day.associations} associations, {day.failed} not negotiated"
        found.append(
            {
                "tone": day.tone,
                "x": f"{index * width:.3f}",
                "width": f"{width * 0.8:.3f}",
                "y": y,
                "height": height,
                "title": f"{day.day}: {said if day.associations else 'no association'}",
            }
        )
    return found


@register.simple_tag(takes_context=True)
def without(context: template.Context, name: str) -> str:
    """Return this page's query string without one parameter, on the first page."""
    request: HttpRequest = context["request"]
    query: QueryDict = request.GET.copy()
    query.pop(name, None)
    query.pop("after", None)
    return f"?{query.urlencode()}"


@register.filter
def hexdump(content: bytes) -> str:
    """Show bytes as lines of 16 with their offset and printable characters."""
    lines = []
    for offset in range(0, min(len(content), 16384), 16):
        part = content[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{offset:05x}  {part.hex(' '):<47}  {text}")
    return "\n".join(lines)
