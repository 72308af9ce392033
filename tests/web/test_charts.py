"""The chart's geometry: where points stand, what they say, where lines break."""

from datetime import date, timedelta
from itertools import pairwise

from sender.analytics.overview import Point
from sender.negotiation.rates import Tally
from sender.web import charts

FIRST = date(2026, 11, 1)
LAST = date(2026, 11, 30)


def point(day: int, accepted: int, rejected: int) -> Point:
    tally = Tally(accepted=accepted, rejected=rejected, associations=1, decided=1)
    return Point(FIRST + timedelta(days=day), tally, tally)


def draw(*lines: tuple[str, list[Point]]) -> charts.Chart:
    return charts.draw(lines, FIRST, LAST, widest_gap_days=6, link=lambda uid, day: f"/{uid}/{day}")


def test_all_accepted_is_at_the_top_and_none_at_the_bottom() -> None:
    chart = draw(("1.2.840.10008.1.2", [point(0, 9, 0), point(29, 0, 9)]))
    first, last = chart.series[0].marks
    assert (first.x, first.y) == (charts.LEFT, charts.TOP)
    assert (last.x, last.y) == (
        charts.WIDTH - charts.RIGHT,
        charts.HEIGHT - charts.BOTTOM,
    )


def test_a_rate_on_fewer_than_eight_answers_is_hollow() -> None:
    chart = draw(("1.2", [point(0, 7, 0), point(1, 8, 0)]))
    assert [mark.is_hollow for mark in chart.series[0].marks] == [True, False]


def test_a_line_breaks_where_nothing_is_known() -> None:
    chart = draw(("1.2", [point(0, 1, 0), point(1, 1, 0), point(20, 1, 0), point(21, 1, 0)]))
    assert len(chart.series[0].lines) == 2


def test_labels_at_the_ends_never_overlap() -> None:
    lines = [(f"1.2.{n}", [point(29, 9, 0)]) for n in range(6)]
    heights = sorted(series.label_y for series in draw(*lines).series)
    gaps = [b - a for a, b in pairwise(heights)]
    assert min(gaps) >= charts.LABEL_STEP - 0.1


def test_labels_stay_inside_when_all_lines_end_at_the_bottom() -> None:
    lines = [(f"1.2.{n}", [point(29, 0, 9)]) for n in range(6)]
    assert max(series.label_y for series in draw(*lines).series) <= charts.HEIGHT


def test_at_most_six_lines_are_drawn_and_empty_ones_are_not() -> None:
    lines = [("1.2.0", []), *((f"1.2.{n}", [point(1, 9, 0)]) for n in range(1, 9))]
    assert [series.name for series in draw(*lines).series] == [f"1.2.{n}" for n in range(1, 7)]


def test_a_point_says_what_it_stands_on() -> None:
    mark = draw(("1.2.840.10008.1.2", [point(4, 3, 1)])).series[0].marks[0]
    assert "Implicit VR LE: 75.0 %" in mark.tip
    assert "3 of 4 accepted" in mark.tip
    assert mark.link == "/1.2.840.10008.1.2/2026-11-05"


def test_a_chart_of_one_day_can_be_drawn() -> None:
    chart = charts.draw(
        [("1.2", [point(0, 1, 0)])], FIRST, FIRST, widest_gap_days=6, link=lambda *_: "/"
    )
    assert chart.series[0].marks[0].x == charts.LEFT
