"""Prefect: takes a function that turns the loop, and gives a flow that Prefect schedules.

While Prefect is down nothing is lost: the timer turns the loop by itself.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run
from prefect.states import Cancelled

T = TypeVar("T")
Run = Callable[[str, Callable[[], Any]], Any]
Turn = Callable[[Run], str]
FLOW = "continual-cycle"
_LONGEST_TASK_S = 300.0
_AT_ONCE = 200  # Prefect gives no more


def flow_of(function: Callable[[], str]) -> Any:
    """Make a module's function the flow that is scheduled; Prefect finds it by its name there."""
    return flow(name=FLOW, retries=0, persist_result=False)(function)


def run_as_tasks(*, retries: int, retry_delay_s: float) -> Run:
    """Run each verb of the cycle as a task of its name, with retries and a time-out."""

    def run(name: str, step: Callable[[], T]) -> T:
        visible = task(
            name=name,
            retries=retries,
            retry_delay_seconds=retry_delay_s,
            timeout_seconds=_LONGEST_TASK_S,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(lambda: step())  # noqa: PLW0108  Prefect reads the name and code of a function
        return visible()

    return run


def is_stale(period_s: float) -> bool:
    """Say whether this run was due more than a period ago, as happens after an outage."""
    due = flow_run.scheduled_start_time
    return due is not None and (datetime.now(UTC) - due).total_seconds() > period_s


def cancel_late(period_s: float) -> int:
    """Cancel the runs that were due more than a period ago; return how many these were.

    After an outage there are fifty minutes of them, and on a machine that is short of time more
    and more; they would be worked off first.
    """
    before = datetime.now(UTC) - timedelta(seconds=period_s)
    late = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=before),
    )
    ours, n = FlowFilter(name=FlowFilterName(any_=[FLOW])), 0
    with get_client(sync_client=True) as client:
        while some := client.read_flow_runs(
            flow_filter=ours,
            flow_run_filter=late,
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=_AT_ONCE,
        ):
            for one in some:
                client.set_flow_run_state(one.id, Cancelled(message="too late"), force=True)
            n += len(some)
    return n


def serve(scheduled: Any, *, period_s: float) -> None:
    """Serve the flow until told to stop; each run is a process of its own, one at a time."""
    scheduled.serve(
        name=f"every-{period_s:g}-s", interval=period_s, limit=1, pause_on_shutdown=False
    )
