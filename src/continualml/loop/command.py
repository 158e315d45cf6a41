"""What a person commands (who answers, what is no fault): checked, one transaction, written."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine

from continualml import clock, decide
from continualml.errors import InputError
from continualml.loop import carry_out
from continualml.loop.making import FEWEST_REFERENCE_ROWS
from continualml.model import Model
from continualml.records import Accepted, LedgerEntry, Merged, Outcome
from continualml.scoring.session import Session
from continualml.store import artifacts, log, pointers, windows
from continualml.store.artifacts import Place
from continualml.store.engine import write


def command(
    engine: Engine, place: Place, name: str, *, version: int | None, said: str, by: str
) -> LedgerEntry:
    """Let a version answer now; None goes back to the anchor, or else to the champion before it.

    It waits for no turn of the loop: a turn under way finds itself overtaken and drops its work.

    Parameters
    ----------
    place
        Where the artifacts are.
    said, by
        The reason, and who gives it.

    Raises
    ------
    InputError
        If there is no such version, it cannot be loaded, it answers already, or no reason is
        given; nothing has changed then.
    """

    def wanted(conn: Connection, model: Model, state: decide.Standing) -> Outcome:
        back = version is None
        one = decide.way_back(state) if version is None else _found(conn, name, state, version)
        if one.version == state.champion.version and state.follows is None:
            raise InputError("version", expected="one that does not answer", got=one.version)
        _check(conn, place, model, one.version)
        return decide.command_of(one, back=back, said=said.strip(), by=by)

    return _taken_in(engine, name, said, wanted)


def accept(engine: Engine, name: str, *, said: str, by: str) -> LedgerEntry:
    """Say that what is open as a fault is how things are: it is learnt from, from now on.

    Raises
    ------
    InputError
        If no incident is open, no reason is given, or too few labelled rows were observed since a
        feed broke to say what is usual now; nothing has changed then.
    """

    def wanted(conn: Connection, model: Model, state: decide.Standing) -> Outcome:
        incident = state.incident
        if incident is not None and incident.name == decide.BROKEN_FEED:
            _enough(windows.n_labelled(conn, model, incident.began - 1, upto=state.read), incident)
        return Accepted(said=said.strip(), by=by)

    return _taken_in(engine, name, said, wanted)


def _enough(labelled: int, incident: decide.Incident) -> None:
    """Refuse a reference from rows before the incident: it would be opened again by the next."""
    if (missing := FEWEST_REFERENCE_ROWS - labelled) > 0:
        raise InputError(
            "accept",
            expected=f"{FEWEST_REFERENCE_ROWS} labelled rows observed since the {incident.name} "
            f"began, at number {incident.began}",
            got=labelled,
            remedy=f"accept it when the labels of {missing} more have come",
        )


def _taken_in(
    engine: Engine,
    name: str,
    said: str,
    wanted: Callable[[Connection, Model, decide.Standing], Outcome],
) -> LedgerEntry:
    if not said.strip():
        raise InputError("because", expected="a reason, for those who ask later", got=said)
    now = clock.now()
    recorded_at = now.isoformat(timespec="milliseconds")
    with write(engine) as conn:
        while carry_out.take_in_foreign(conn, name, recorded_at=recorded_at):
            pass  # what a guard found comes first, as it stands in the log
        known = carry_out.known(conn, name)
        if known.model is None or known.standing is None:
            raise InputError(f"models.{name}", expected="a model with a champion", got=None)
        outcome = wanted(conn, known.model, known.standing)
        at = now.timestamp()
        _, entries = carry_out.take_in(conn, known, name, outcome, at=at, recorded_at=recorded_at)
    return entries[-1]


def _found(conn: Connection, name: str, state: decide.Standing, version: int) -> decide.Artifact:
    """Take what is known of the version, or gather it from the outcome that it came of."""
    for a in (state.champion, state.anchor, state.previous, *state.heads.values(), *state.archive):
        if a is not None and a.version == version:
            return a
    outcome = log.made(conn, name, version)
    if outcome is None:
        raise InputError("version", expected=f"a version of {name}", got=version)
    if not isinstance(outcome, Merged):
        return decide.artifact(outcome)
    members = [_found(conn, name, state, member) for _, member in outcome.members]
    equal = (1 / len(members),) * len(members)
    return decide.blended(outcome, members, pointers.last_weights(conn, name, version) or equal)


def _check(conn: Connection, place: Place, model: Model, version: int) -> None:
    """Load it as the API will: a version that would not answer is refused here."""
    known = pointers.version(conn, model.name, version)
    if known is None:
        raise InputError("version", expected=f"a version of {model.name}", got=version)
    try:
        session = Session(artifacts.read(place, known.sha256))
        session.fits(model)
        session.warm()
    except (artifacts.ArtifactError, InputError) as error:
        raise InputError(
            "version",
            expected="a version that can be loaded",
            got=version,
            remedy=f"{error}; put the file back, or take another version",
        ) from error
