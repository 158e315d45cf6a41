"""What one serving process holds, from its start to its end."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from fastapi import Request
from sqlalchemy import Connection, Engine
from starlette.types import Scope

from continualml.app.api.answering import Answering
from continualml.app.api.asking import Reader
from continualml.app.api.champion import Champions, Repeated
from continualml.app.api.counts import DIRECTORY, Counts
from continualml.app.api.ended import Ended
from continualml.app.api.fetching import Fetching
from continualml.app.api.figures import Figures
from continualml.app.api.following import Following
from continualml.app.api.health import Health
from continualml.app.api.jobs import Jobs
from continualml.app.api.logins import Logins
from continualml.app.api.looked import Looked
from continualml.app.api.problems import ProblemError
from continualml.app.api.provider import Provider
from continualml.app.api.refusing import Refusals
from continualml.app.api.sessions import Sessions, key_in
from continualml.app.api.tokens import Tokens, ensure_admin
from continualml.app.place import place_of
from continualml.model import Model
from continualml.settings import Project
from continualml.store.artifacts import Remote
from continualml.store.engine import StoreUnavailableError, open_store, read
from continualml.store.group_commit import GroupCommit
from continualml.store.lineage import RowsRead

T = TypeVar("T")
_LOOK_S = 0.2
_TOKENS_S = 0.4
_HEALTH_S = 2.0
_READY_S = 2.0
_REFUSALS_S = 1.0


@dataclass(slots=True, kw_only=True)
class Serving:
    """The open store, who answers, who may ask, and how all of it is.

    ``readers`` are by the name of the model.
    """

    project: Project
    engine: Engine
    commit: GroupCommit
    answering: Answering
    readers: dict[str, Reader]
    champions: Champions
    tokens: Tokens
    health: Health
    counts: Counts
    figures: Figures
    refusals: Refusals
    logins: Logins
    provider: Provider | None
    looked: Looked
    jobs: Jobs
    most_bytes: int
    most_rows: int
    repeated: tuple[Repeated, ...]
    fetching: Fetching | None
    rows_read: RowsRead = field(default_factory=RowsRead)

    @classmethod
    def begin(cls, project: Project) -> "Serving":
        """Open the store and load the champions.

        Raises
        ------
        InputError
            If the admin token is not safe, a provider is set without the extra, or the list of
            ended sessions is spoilt.
        StoreUnavailableError
            If the store cannot be reached now.
        """
        settings = project.settings
        engine = open_store(settings.database_url, durability=settings.durability)
        try:
            ensure_admin(engine, settings.admin_token, settings.api_key)
        except StoreUnavailableError:
            engine.dispose()
            raise
        key, allowed = key_in(settings.session_key), settings.oidc_allowed
        ended = Ended(settings.data / "sessions.ended", settings.session_key)
        sessions = Sessions(key, settings.dashboard_password, allowed, ended)
        tokens = Tokens(engine, sessions)
        tokens.look()
        sessions.look()
        place = place_of(settings)
        fetching = Fetching(place) if isinstance(place, Remote) else None
        champions = Champions(engine, fetching or place, project.models)
        shared = os.environ.get(DIRECTORY)  # the server's start says it to its workers
        counts = Counts(Path(shared) if shared else None)
        commit = GroupCommit(engine)
        answering = Answering(champions, commit)
        following = Following(champions, counts, project.models, lambda: answering.waiting)
        following.look()
        refusals = Refusals(engine, counts, project.models)
        health = Health(engine, champions, project)
        health.look()
        health.check_pages()
        repeated = (
            Repeated(following.look, every_s=_LOOK_S),
            Repeated(tokens.look, every_s=_TOKENS_S),
            Repeated(sessions.look, every_s=_TOKENS_S),
            Repeated(health.look, every_s=_HEALTH_S),
            Repeated(refusals.look, every_s=_REFUSALS_S),
        )
        for thread in repeated:
            thread.start()
        most_rows = settings.max_rows
        return cls(
            project=project,
            engine=engine,
            commit=commit,
            answering=answering,
            readers={name: Reader(model, most_rows) for name, model in project.models.items()},
            champions=champions,
            tokens=tokens,
            health=health,
            counts=counts,
            refusals=refusals,
            figures=Figures(engine, project, health, counts),
            logins=Logins(),
            provider=Provider.of(settings),
            looked=Looked(),
            jobs=Jobs(project),
            most_bytes=settings.max_body_bytes,
            most_rows=most_rows,
            repeated=repeated,
            fetching=fetching,
        )

    def looked_at(self, key: Hashable, ask: Callable[[Connection], T]) -> T:
        """Answer those who only look, from what is known or from the store; see ``Looked``."""

        def compute() -> T:
            with read(self.engine) as conn:
                return ask(conn)

        return self.looked.at(key, compute)

    def end(self) -> None:
        """Write what still waits, and close the store."""
        for thread in self.repeated:
            thread.stop()
        if self.fetching is not None:
            self.fetching.close()
        self.jobs.end()
        self.commit.close()
        self.refusals.end()
        self.counts.close()
        self.engine.dispose()

    async def ready(self) -> int:
        """Return the version that answers for the default model, when its rows can be logged now.

        Raises
        ------
        ProblemError
            503 without a champion, or while the log cannot be written.
        """
        champion = self.champions.of(self.model(None).name)
        if not self.health.writable:
            raise ProblemError(503, "not-ready", "the log cannot be written; see /health")
        try:
            await asyncio.wait_for(self.commit.submit([]), _READY_S)
        except (TimeoutError, StoreUnavailableError) as error:
            raise ProblemError(503, "not-ready", f"the log cannot be written: {error}") from error
        return champion.known.version

    def model(self, name: str | None) -> Model:
        """Return the model of that name, or the default one.

        Raises
        ------
        ProblemError
            404 if there is no such model.
        """
        found = self.project.models.get(self.project.default if name is None else name)
        if found is None:
            raise ProblemError(
                404,
                "unknown-model",
                f"there is no model {name!r}",
                expected=f"one of {sorted(self.project.models)}",
            )
        return found


def serving_of(scope: Scope) -> Serving:
    """Return what the application of this request holds.

    Raises
    ------
    ProblemError
        503 while the store could not be reached yet.
    """
    try:
        return cast("Serving", scope["app"].state.serving)
    except AttributeError:  # costs nothing where it is there
        raise ProblemError(
            503,
            "starting",
            "the log could not be opened yet; this process tries again every second",
            headers={"Retry-After": "1"},
            remedy="see the server's log for what keeps it from its database",
        ) from None


def needs(scope: str) -> Callable[[Request], Awaitable[None]]:
    """Make the dependency of a route that only tokens with this scope may use."""

    async def check(request: Request) -> None:
        serving_of(request.scope).tokens.require(request.scope, scope)

    return check
