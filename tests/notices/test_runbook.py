"""Every message leads to a section of the runbook that is there."""

import re
from pathlib import Path

import pytest

from continualml.notices.of_decision import DIAGNOSES, SECTIONS

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"
COMPONENTS = ("api", "loop", "mlflow", "prefect", "dashboard")
OTHERS = ("ok", "daily-digest", "component-up", *(f"component-down-{c}" for c in COMPONENTS))


@pytest.mark.skipif(not RUNBOOK.exists(), reason="the runbook is not written yet")
@pytest.mark.parametrize(
    "section", sorted({*SECTIONS.values(), *DIAGNOSES.values(), *OTHERS, "drift-detected"})
)
def test_the_runbook_has_the_section_that_a_message_names(section: str) -> None:
    text = RUNBOOK.read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
    assert section in slugs | set(re.findall(r'id="([^"]+)"', text))
