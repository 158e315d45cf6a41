"""The outbox over a real store: nothing overtakes, and what fails says why."""

from sqlalchemy import Engine, update

from continualml.store import outbox
from continualml.store.engine import read, write
from continualml.store.tables import outbox as outbox_table


def waiting(engine: Engine) -> list[int]:
    with read(engine) as conn:
        return [m.body["n"] for m in outbox.due(conn, "mlflow")]


def enqueue(engine: Engine, *numbers: int, destination: str = "mlflow") -> None:
    with write(engine) as conn:
        for n in numbers:
            outbox.enqueue(conn, destination, {"n": n})


def test_a_later_message_never_overtakes_one_that_failed(engine: Engine) -> None:
    enqueue(engine, 1, 2)
    with write(engine) as conn:
        outbox.retry(conn, 1, "it is down", after_s=60.0)
    enqueue(engine, 3)
    assert waiting(engine) == []
    with write(engine) as conn:
        outbox.retry(conn, 1, "it is down", after_s=0.0)
    assert waiting(engine) == [1, 2, 3]
    with read(engine) as conn:
        assert [m.attempts for m in outbox.due(conn, "mlflow")] == [2, 0, 0]


def test_attempts_count_what_failed_in_a_row_for_one_reason(engine: Engine) -> None:
    enqueue(engine, 1)
    with write(engine) as conn:
        for because in ("it is down", "it is down", "it is down", "the artifact was changed"):
            outbox.retry(conn, 1, because, after_s=0.0)
        (message,) = outbox.due(conn, "mlflow")
    assert (message.attempts, message.last_error) == (1, "the artifact was changed")


def test_a_clock_that_is_set_back_puts_no_message_off_for_as_long(engine: Engine) -> None:
    enqueue(engine, 1, 2)
    with write(engine) as conn:
        outbox.retry(conn, 1, "it is down", after_s=15.0)
    assert waiting(engine) == []
    with write(engine) as conn:  # as it stands there when the clock has lost an hour
        later = outbox_table.c.due_at + 3_600
        conn.execute(update(outbox_table).values(due_at=later))
    assert waiting(engine) == [1, 2]


def test_no_message_is_put_off_for_longer_than_a_clock_is_believed(engine: Engine) -> None:
    enqueue(engine, 1)
    with write(engine) as conn:
        outbox.postpone(conn, 1, after_s=86_400.0)
    assert waiting(engine) == []


def test_one_destination_does_not_wait_for_another(engine: Engine) -> None:
    enqueue(engine, 1, destination="elsewhere")
    enqueue(engine, 2)
    with write(engine) as conn:
        outbox.retry(conn, 1, "it is down", after_s=60.0)
    assert waiting(engine) == [2]


def test_what_is_refused_is_passed_over_and_counted(engine: Engine) -> None:
    enqueue(engine, 1, 2)
    with write(engine) as conn:
        outbox.retry(conn, 1, "what a name", after_s=0.0)
    with read(engine) as conn:
        assert outbox.failing(conn, "mlflow") == "what a name"
    with write(engine) as conn:
        outbox.refused(conn, 1, "what a name")
    with read(engine) as conn:
        assert outbox.failing(conn, "mlflow") is None
        assert outbox.counts(conn, "mlflow") == {outbox.REFUSED: 1, outbox.WAITING: 1}
    assert waiting(engine) == [2]
