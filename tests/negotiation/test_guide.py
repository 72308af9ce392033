"""What the administrators' guide gives as examples can be written so."""

import re

from sender.negotiation.profiles import parse_profile
from sender.negotiation.windows import parse_windows
from tests.processes import ROOT

GUIDE = (ROOT / "docs/administrators.md").read_text(encoding="utf-8")
SECTION = GUIDE.split("\n## Windows, limits and schedules\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"(?:^    .+\n)+", SECTION, re.MULTILINE)


def test_the_examples_of_windows_are_windows() -> None:
    examples = [line.strip() for line in BLOCKS[0].splitlines()]
    assert len(examples) == 3
    for example in examples:
        assert parse_windows(example).windows


def test_the_example_of_a_profile_is_a_profile() -> None:
    assert len(parse_profile(BLOCKS[1]).lines) == 3
