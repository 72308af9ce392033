"""Runs commands of manage.py, one after another, in one process: a JSON list of words per line.

Answers each with a JSON object on standard output: exit code, output, messages.
"""

import io
import json
import os
import sys

import django


def main() -> None:
    """Serve until standard input ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dicomsite.settings")
    django.setup()
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)  # noqa: T201 - its protocol


def _run(words: list[str]) -> dict[str, object]:
    from django.core.management import call_command
    from django.core.management.base import CommandError

    out, said = io.StringIO(), io.StringIO()
    code: object = 0
    try:
        call_command(*words, stdout=out, stderr=said)
    except SystemExit as ended:
        code = ended.code
    except CommandError as error:
        said.write(str(error))
        code = 2
    return {"code": code, "out": out.getvalue(), "said": said.getvalue()}


if __name__ == "__main__":
    main()
