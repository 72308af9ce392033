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
