"""Every message leads to a section of the runbook that is there."""

import re
from pathlib import Path

import pytest

from continualml.notices import of_components, of_day, of_decision

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"
NAMED = {
    *of_decision.SECTIONS.values(),
    *of_decision.DIAGNOSES.values(),
    of_decision.UNFIT_SECTION,
    *of_components.SECTIONS.values(),
    "alarm-drift",
    "component-down",
    of_day.ok(of_day.Day(models={}, components={}, at="")).section,
}


@pytest.mark.parametrize("section", sorted(NAMED))
def test_the_runbook_has_the_section_that_a_message_names(section: str) -> None:
    headings = re.findall(r"^## (.+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    assert section in headings
