"""A model of which much happens in few rows."""

from dataclasses import replace

from continualml import demo
from continualml.model import Policy, Strategy

# Small windows and budgets: a hundred rows bring alarms, refits, promotions and ways back.
MODEL = replace(
    demo.DEMO,
    policy=Policy(
        strategies=(
            Strategy(name="short", window=30, refit=30),
            Strategy(name="long", window=100, refit=50),
        ),
        block=2,
        hold=10,
        false_alarms=60,
        false_promotions=20,
    ),
)
