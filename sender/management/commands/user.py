"""`manage.py user add|list|disable`."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from sender.management.base import ConcordatCommand
from sender.models import ROLES
from sender.services import users


class Command(ConcordatCommand):
    """Keep users."""

    help = "Add a user, list them, or disable one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="add|list|disable")
        add = verbs.add_parser("add", help="add a user with a role")
        add.add_argument("name")
        add.add_argument("--role", required=True, choices=tuple(ROLES))
        add.add_argument(
            "--password-stdin",
            action="store_true",
            required=True,
            help="read the password from the first line of standard input",
        )
        listing = verbs.add_parser("list", help="list the users")
        listing.add_argument("--json", action="store_true")
        disable = verbs.add_parser("disable", help="keep a user from signing in")
        disable.add_argument("name")

    def run(self, **options: Any) -> int:
        verb = {"add": self._add, "list": self._list, "disable": self._disable}
        return verb[options["verb"]](options)

    def _add(self, options: dict[str, Any]) -> int:
        password = sys.stdin.readline().rstrip("\r\n")
        try:
            users.add_user(
                name=options["name"], role=options["role"], password=password, actor=self.actor
            )
        except users.InvalidUser as error:
            raise CommandError(str(error)) from error
        self.say(f"User {options['name']} was added as {options['role']}.")
        return 0

    def _list(self, options: dict[str, Any]) -> int:
        rows = [
            {"name": user.username, "role": users.role_of(user), "active": user.is_active}
            for user in User.objects.prefetch_related("groups").order_by("username")
        ]
        self.show(rows, as_json=options["json"], columns=("name", "role", "active"))
        return 0

    def _disable(self, options: dict[str, Any]) -> int:
        user = User.objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['name']}.")
        try:
            users.disable_user(user, actor=self.actor)
        except users.LastAdministrator:
            raise CommandError(
                f"{user.username} is the last administrator and can't be disabled."
            ) from None
        self.say(f"User {user.username} can't sign in any more.")
        return 0
