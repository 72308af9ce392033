"""Spreadsheets must not execute what peers and files said."""

import pytest

from sender.negotiation.spreadsheets import neutralise
from sender.web.exports import csv_response


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\tx", "\rx"])
def test_a_formula_gets_an_apostrophe(cell: str) -> None:
    assert neutralise(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["plain", "-1.5", "+3", "1.2.840", "", 7])
def test_everything_else_stays_as_it_is(cell: object) -> None:
    assert neutralise(cell) == str(cell)


def test_rows_are_quoted_where_they_must_be() -> None:
    response = csv_response([("a,b", 'c"d', None)], "x.csv")
    assert b"".join(response) == b'"a,b","c""d",\r\n'
    assert response["Content-Disposition"] == 'attachment; filename="x.csv"'
