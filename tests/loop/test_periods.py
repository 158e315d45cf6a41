from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine

from continualml import decide, demo
from continualml.errors import InputError
from continualml.loop import periods
from continualml.loop.cycle import Loop
from continualml.model import Model, Policy
from continualml.store import ledger
from continualml.store.engine import read, write
from continualml.store.log import Labelled, Observed, append_labels, append_observations
from tests.conftest import Home

DAY_S = 86_400
NOBODY = decide.Known()


def monthly(**other: object) -> Model:
    policy = replace(demo.DEMO.policy, false_alarm_days=30.0, **other)  # type: ignore[arg-type]
    return replace(demo.DEMO, policy=policy)


def send(engine: Engine, n: int, *, start: float, every_s: float, name: str) -> None:
    rows, target = demo.generate(n, seed=0, noise=0.5, drift=0.0)
    for i, (row, t) in enumerate(zip(rows.numeric, target, strict=True)):
        at = start + i * every_s
        one = Observed(
            model="demo",
            observation_id=f"{name}-{i}",
            numeric=np.asarray(row, "<f8").tobytes(),
            categorical=None,
            version=None,
            answer=None,
            recorded_at=at,
        )
        label = Labelled(observation_id=one.observation_id, label=demo.DEMO.classes[int(t)])
        with write(engine) as conn:
            append_observations(conn, [one])
            append_labels(conn, demo.DEMO, [label], at)


def counted(engine: Engine, model: Model, known: decide.Known = NOBODY) -> Policy:
    with read(engine) as conn:
        return periods.in_rows(conn, model, known).policy


def test_a_policy_in_rows_stays_as_it_is(engine: Engine) -> None:
    assert counted(engine, demo.DEMO) == demo.DEMO.policy


def test_a_rate_of_the_users_own_counts_at_once(engine: Engine) -> None:
    policy = counted(engine, monthly(rows_per_day=48.0, false_promotion_days=7.0))
    assert (policy.false_alarms, policy.false_promotions) == (30 * 48, 7 * 48)


def test_the_rate_is_measured_without_what_a_file_brought_at_once(engine: Engine) -> None:
    send(engine, 40, start=0.0, every_s=0.0, name="file")
    assert counted(engine, monthly()) == monthly().policy
    send(engine, 23, start=3_600.0, every_s=3_600.0, name="live")
    assert counted(engine, monthly()).rows_per_day is None  # 23 hours are no day
    send(engine, 25, start=DAY_S, every_s=3_600.0, name="more")
    policy = counted(engine, monthly())
    assert policy.rows_per_day == 24.0
    assert policy.false_alarms == 30 * 24
    assert policy.false_promotions is None  # said as a chance


def test_what_is_in_force_stays_while_the_periods_are_the_same(engine: Engine) -> None:
    send(engine, 49, start=0.0, every_s=3_600.0, name="live")
    held = decide.Known(model=monthly(rows_per_day=7.0))
    assert counted(engine, monthly(), held).false_alarms == 210
    weekly = replace(demo.DEMO, policy=Policy(false_alarm_days=7.0))
    assert counted(engine, weekly, held).false_alarms == 7 * 24


def test_a_budget_is_never_less_than_a_block(engine: Engine) -> None:
    assert counted(engine, monthly(rows_per_day=0.1, block=48)).false_alarms == 48


@pytest.mark.parametrize("field", ["false_alarm_days", "rows_per_day"])
def test_a_period_or_rate_that_is_not_positive_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"policy.{field}: expected a positive number"):
        Policy(**{field: 0.0})  # type: ignore[arg-type]


def test_the_loop_declares_the_rows_once_before_it_judges_by_them(home: Home) -> None:
    loop = Loop(
        engine=home.engine,
        artifacts=home.directory / "artifacts",
        models={"demo": monthly()},
        trainer=home.loop.trainer,
        holder="another",
    )
    loop.turn("demo")
    with read(home.engine) as conn:
        before = ledger.entries(conn, kinds=("policy",))
        made_at = conn.exec_driver_sql("SELECT max(recorded_at) FROM labels").scalar_one()
    assert [e.decision.basis["changed"] for e in before] == [["policy.false_alarm_days"]]
    send(home.engine, 49, start=made_at + 3_600, every_s=3_600.0, name="live")
    loop.turn("demo")
    loop.turn("demo")
    with read(home.engine) as conn:
        (said, *_) = after = ledger.entries(conn, kinds=("policy",))
        (next_one,) = ledger.entries(conn, kinds=("keep",), limit=1)
    assert len(after) == 2
    assert said.decision.basis["model"]["policy"]["false_alarms"] == 30 * 24
    assert said.n < next_one.n
    basis = next_one.decision.basis
    assert basis["loss"]["threshold"] == 30 * 24 / 0.24 / basis["block"]


def test_a_block_may_be_a_period_and_becomes_rows_with_the_rate(engine: Engine) -> None:
    policy = counted(engine, replace(demo.DEMO, policy=Policy(block_days=0.5, rows_per_day=48.0)))
    assert policy.block == 24
    rare = counted(engine, replace(demo.DEMO, policy=Policy(block_days=0.5, rows_per_day=0.1)))
    assert rare.block == 1
