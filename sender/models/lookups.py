"""Lookups of our own."""

from typing import Any

from django.db import models


@models.AutoField.register_lookup
@models.BigAutoField.register_lookup
class Among(models.Lookup):
    """`pk__among=ids`: one of many numbers, given as a set.

    As `pk__in`, which takes some microseconds for each of them to see whether it is an expression.
    """

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return SQL and its values."""
        column, values = self.process_lhs(compiler, connection)
        if connection.vendor == "postgresql":
            return f"{column} = ANY(%s)", (*values, list(self.rhs))
        marks = ", ".join(["%s"] * len(self.rhs))
        return f"{column} IN ({marks})", (*values, *self.rhs)


@models.CharField.register_lookup
class IsNow(models.Lookup):
    """`outcome__is_now=word`: as exact, but no index finds rows by it.

    For rows that are found by something better. PostgreSQL reads all that have the word instead, if
    there were few of them when it counted last: for each page of a send just planned, all of it.
    """

    lookup_name = "is_now"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return SQL and its values."""
        column, values = self.process_lhs(compiler, connection)
        mark, word = self.process_rhs(compiler, connection)
        if connection.vendor == "postgresql":
            column = f"({column} || '')"
        return f"{column} = {mark}", (*values, *word)
