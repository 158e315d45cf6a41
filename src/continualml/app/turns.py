"""One turn of one model's loop, whose failure stays visible in the store until one goes well."""

from continualml.loop.cycle import Loop, Run, Verdict, plainly
from continualml.store import failed_turns
from continualml.store.engine import StoreUnavailableError


def turn(loop: Loop, name: str, run: Run = plainly) -> Verdict:
    """Turn the loop of one model; what it raises is noted for ``/health``, and raised again.

    Raises
    ------
    StoreUnavailableError
        If the store cannot be written now: that is not the model's failure.
    """
    try:
        verdict = loop.turn(name, run)
    except StoreUnavailableError:
        raise
    except Exception as error:
        failed_turns.note(loop.engine, name, error)
        raise
    if verdict.turned:
        failed_turns.clear(loop.engine, name)
    return verdict
