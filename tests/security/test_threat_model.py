"""SECURITY.md names tests that are there, and numbers that hold."""

import re
from pathlib import Path

from continualml.app.api import connections, tokens

ROOT = Path(__file__).parents[2]


def test_what_security_md_says_is_tested_where_it_says_and_its_numbers_hold() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")

    named = set(re.findall(r"`(tests/[\w/.]+)`", text))
    assert len(named) >= 8
    assert [n for n in named if not (ROOT / n).exists()] == []
    assert f"after {tokens._BURST} different" in text  # noqa: SLF001  what the text speaks of
    assert f"one more every {1 / tokens._PER_S:.0f} s" in text  # noqa: SLF001
    assert f"{connections._HEAD_BYTES // 1024} KiB and {connections._HEADERS} fields" in text  # noqa: SLF001
    assert f"{connections._HEAD_S:.0f} s for the head and {connections._REQUEST_S:.0f} s" in text  # noqa: SLF001
