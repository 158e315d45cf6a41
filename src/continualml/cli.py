"""The command ``continual``: verbs, exit codes, ``--json``.

Exit codes: 0 done; 1 it failed or is unhealthy; 2 wrong usage; 3 wrong configuration or input;
4 something that is needed cannot be reached; 130 stopped with Ctrl-C.
"""

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Printed

from continualml import settings as configuration
from continualml.errors import InputError
from continualml.settings import Project

OK, FAILED, USAGE, CONFIGURATION, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130
_LEAST_DISK_MB = 500

app = typer.Typer(
    name="continual",
    help="Keeps a deployed model right by itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
token_app = typer.Typer(help="Bearer tokens.", no_args_is_help=True)
config_app = typer.Typer(help="The configuration.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(config_app, name="config")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="continual.toml to read.")]
Data = Annotated[Path | None, typer.Option("--data", help="Directory of log and artifacts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelName = Annotated[str | None, typer.Option("--model", "-m", help="Default: the first one.")]


def main() -> None:
    """Run the command; say errors of the user's in one sentence, without a traceback."""
    from continualml.store.engine import StoreUnavailableError  # noqa: PLC0415  only when needed

    try:
        code = app(standalone_mode=False)
    except InputError as error:
        _say_error(str(error))
        code = CONFIGURATION
    except StoreUnavailableError as error:
        _say_error(f"the store cannot be opened: {error}")
        code = UNREACHABLE
    except (KeyboardInterrupt, typer.Abort):
        _say_error("stopped")
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        show = getattr(error, "show", None)
        if show is not None:
            show()
        code = int(error.exit_code)
    sys.exit(code if isinstance(code, int) else OK)


@app.command()
def init(
    source: Annotated[Path, typer.Option("--from", help="CSV with a header.")],
    target: Annotated[str, typer.Option(help="Column that shall be predicted.")],
    name: Annotated[str | None, typer.Option(help="The model's name; default: the file's.")] = None,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("continual.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
) -> None:
    """Infer a schema from a CSV and write a commented continual.toml."""
    from continualml.learning.table import infer  # noqa: PLC0415  only for this verb

    if output.exists() and not force:
        raise InputError(
            "output", expected="a file that is not there yet", got=str(output), remedy="use --force"
        )
    features, classes = infer(source, target)
    named = name or source.name.split(".")[0]
    output.write_text(_toml(named, target, features, classes), encoding="utf-8")
    typer.echo(f"{output}: model {named!r}, {len(features)} features, target {target!r}")
    typer.echo(f"next: continual train {source} && continual up")


@app.command()
def up(
    config: Config = None,
    data: Data = None,
    port: Annotated[int | None, typer.Option(help="Port of the API.")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="CSV whose rows and labels are replayed.")
    ] = None,
    first: Annotated[int, typer.Option(help="Rows of it for the first champion.")] = 1_000,
    speed: Annotated[float, typer.Option(help="Rows a second, at most.")] = 150.0,
) -> None:
    """Run everything as one process tree until Ctrl-C."""
    from continualml.app import up as tree  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data, port=port)
    stream = None
    if replay is not None:
        _train_if_new(project, replay, first)
        stream = (
            *(sys.executable, "-m", "continualml", "replay-stream", str(replay.absolute())),
            *("--start", str(first), "--speed", str(speed)),
        )
    raise typer.Exit(tree.run(project, stream=stream))


@app.command()
def serve(
    config: Config = None,
    data: Data = None,
    port: Annotated[int | None, typer.Option(help="Port of the API.")] = None,
) -> None:
    """Serve the API alone."""
    from continualml.app.api.main import serve as serve_api  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data, port=port)
    os.environ.update(configuration.environment(project.settings))
    raise typer.Exit(serve_api(project))


@app.command()
def cycle(
    config: Config = None, data: Data = None, model: ModelName = None, as_json: AsJson = False
) -> None:
    """Turn the loop once by hand and say the verdict."""
    project = configuration.load(config, data=data)
    names = [_model(project, model)] if model else list(project.models)
    with _loop(project) as loop:
        verdicts = [loop.turn(name) for name in names]
    told = [
        {"model": v.model, "kind": v.kind, "because": v.because, "rows": v.rows} for v in verdicts
    ]
    _print(told, as_json=as_json)


@app.command()
def train(
    source: Annotated[Path, typer.Argument(help="CSV with a header.")],
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    rows: Annotated[int | None, typer.Option(help="Take only the first rows.")] = None,
) -> None:
    """Train the first champion from a file; its rows go into the log."""
    project = configuration.load(config, data=data)
    typer.echo(_train(project, source, _model(project, model), rows))


@app.command("replay-stream")
def replay_stream(
    source: Annotated[Path, typer.Argument(help="CSV with a header.")],
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    url: Annotated[str | None, typer.Option(help="Address of the API.")] = None,
    speed: Annotated[float, typer.Option(help="Rows a second, at most.")] = 150.0,
    delay: Annotated[int, typer.Option(min=1, help="Rows until a label comes.")] = 48,
    start: Annotated[int, typer.Option(min=0, help="First row that is sent.")] = 1_000,
    rows: Annotated[int | None, typer.Option(help="How many rows.")] = None,
    paced: Annotated[
        bool, typer.Option("--paced/--unpaced", help="Wait for the loop after each day.")
    ] = True,
    output: Annotated[Path | None, typer.Option(help="Directory of table and picture.")] = None,
) -> None:
    """Send rows and, later, their labels over HTTP; then compare with the usual practices."""
    from continualml.app import stream  # noqa: PLC0415  only for this verb
    from continualml.learning.table import read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    said = project.settings
    asked = project.models[_model(project, model)]
    table = read(source, asked)
    stop = len(table.labels) if rows is None else min(len(table.labels), start + rows)
    replay = stream.Replay(
        model=asked,
        table=table,
        url=url or f"http://{said.host}:{said.port}",
        token=_admin(project),
        speed=speed,
        delay=delay,
        start=start,
        stop=stop,
        paced=paced,
    )
    raise typer.Exit(stream.run(replay, output=output or said.data / "stream"))


@app.command()
def status(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Say who answers and what the loop has read; exit code 1 without a champion."""
    from continualml.store import pointers, snapshots  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    told: list[dict[str, Any]] = []
    with read(open_store(project.settings.database_url)) as conn:
        for name in project.models:
            there = snapshots.get(conn, name)
            report = json.loads(there[1])["report"] if there else {}
            told.append(
                {
                    "model": name,
                    **pointers.pointed(conn, name),
                    "follows": report.get("follows"),
                    "rows": report.get("rows", 0),
                    "loss": report.get("evidence", {}).get("loss"),
                }
            )
    _print(told, as_json=as_json)
    if not any(t["model"] == project.default and "champion" in t for t in told):
        raise typer.Exit(FAILED)


@app.command()
def decisions(
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the ledger, newest first."""
    from continualml.store import ledger  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with read(open_store(project.settings.database_url)) as conn:
        found = ledger.entries(conn, model=model, kinds=tuple(kind or ()), limit=limit)
    told = [
        {
            "n": e.n,
            "recorded_at": e.recorded_at,
            "model": e.decision.model,
            "kind": e.decision.kind,
            "version": e.decision.version,
            "because": e.decision.because,
        }
        | ({"basis": e.decision.basis, "hash": e.hash} if as_json else {})
        for e in found
    ]
    _print(told, as_json=as_json)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="Who uses it.")],
    scope: Annotated[list[str], typer.Option(help="predict, label, read or admin.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Make a token; it is shown this once."""
    from continualml.store import tokens  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, write  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with write(open_store(project.settings.database_url)) as conn:
        _, secret = tokens.create(conn, name, tuple(scope))
    typer.echo(secret)


@token_app.command("list")
def token_list(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    from continualml.store import tokens  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with read(open_store(project.settings.database_url)) as conn:
        told = [
            {
                "id": t.id,
                "name": t.name,
                "scopes": sorted(t.scopes),
                "created_at": t.created_at,
                "revoked_at": t.revoked_at,
            }
            for t in tokens.listed(conn)
        ]
    _print(told, as_json=as_json)


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, from the list.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Revoke a token; servers refuse it within a second."""
    from continualml.store import tokens  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, write  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    with write(open_store(project.settings.database_url)) as conn:
        if not tokens.revoke(conn, token_id):
            raise InputError("id", expected="the id of a token that holds", got=token_id)
    typer.echo(f"revoked {token_id}")


@config_app.command("show")
def config_show(config: Config = None, data: Data = None) -> None:
    """Show every setting as it holds now; secrets are hidden."""
    project = configuration.load(config, data=data)
    typer.echo(project.settings.model_dump_json(indent=2))


@config_app.command("check")
def config_check(config: Config = None, data: Data = None) -> None:
    """Check file and environment; exit code 3 with every fault."""
    project = configuration.load(config, data=data)
    typer.echo(f"{project.settings.config}: fine; models: {', '.join(project.models)}")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of continual.toml."""
    typer.echo(json.dumps(configuration.schema(), indent=2))


@app.command()
def doctor(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Check ports, disk, versions, clock, permissions; say remedies; exit code 1 if one fails."""
    project = configuration.load(config, data=data)
    told = _checks(project)
    _print(told, as_json=as_json)
    if not all(t["ok"] for t in told):
        raise typer.Exit(FAILED)


def _checks(project: Project) -> list[dict[str, Any]]:
    from importlib.util import find_spec  # noqa: PLC0415  only for this verb

    said, told = project.settings, list[dict[str, Any]]()

    def check(name: str, *, ok: bool, found: str, remedy: str) -> None:
        told.append({"check": name, "ok": ok, "found": found, "remedy": "" if ok else remedy})

    for name in ("port", "prefect_port", "mlflow_port"):
        port = getattr(said, name)
        with socket.socket() as probe:
            free = probe.connect_ex((said.host, port)) != 0
        check(
            name,
            ok=free,
            found=f"{port} {'free' if free else 'taken'}",
            remedy=f"set CONTINUAL_{name.upper()}, or let up take the next free one",
        )
    there = said.data if said.data.exists() else said.data.absolute().parent
    free_mb = shutil.disk_usage(there).free >> 20
    check(
        "disk",
        ok=free_mb >= _LEAST_DISK_MB,
        found=f"{free_mb} MB free",
        remedy=f"free {_LEAST_DISK_MB} MB beside {said.data}",
    )
    check(
        "writable",
        ok=os.access(there, os.W_OK),
        found=str(there),
        remedy="give this user the right to write there, or set CONTINUAL_DATA",
    )
    token = said.admin_token
    closed = not token.exists() or not token.stat().st_mode & 0o077
    check("admin token", ok=closed, found=str(token), remedy=f"chmod 600 {token}")
    check(
        "python",
        ok=sys.version_info >= (3, 11),
        found=sys.version.split()[0],
        remedy="install Python 3.11 or newer",
    )
    extras = {"learn": "sklearn", "prefect": "prefect", "mlflow": "mlflow", "example": "matplotlib"}
    missing = [extra for extra, module in extras.items() if find_spec(module) is None]
    check(
        "extras",
        ok="learn" not in missing,
        found=f"missing: {', '.join(missing)}" if missing else "all",
        remedy="uv sync --extra learn: without it nothing is trained",
    )
    told.append(_clock(project))
    return told


def _clock(project: Project) -> dict[str, Any]:
    """Compare this clock with the last entry of the ledger: it must not lie in the future."""
    from datetime import UTC, datetime  # noqa: PLC0415  only for this verb

    from continualml.store import ledger  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    now = datetime.now(UTC)
    with read(open_store(project.settings.database_url)) as conn:
        last = ledger.entries(conn, limit=1)
    ok = not last or datetime.fromisoformat(last[0].recorded_at) <= now
    remedy = "" if ok else "the clock was set back: let it be kept by NTP"
    return {
        "check": "clock",
        "ok": ok,
        "found": now.isoformat(timespec="seconds"),
        "remedy": remedy,
    }


def _train_if_new(project: Project, source: Path, rows: int) -> None:
    from continualml.store import pointers  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    with read(open_store(project.settings.database_url)) as conn:
        there = pointers.pointed(conn, project.default)
    if "champion" not in there:
        typer.echo(_train(project, source, project.default, rows))


def _train(project: Project, source: Path, name: str, rows: int | None) -> str:
    from continualml.learning.table import read  # noqa: PLC0415  only for this verb
    from continualml.loop.begin import from_table  # noqa: PLC0415  only for this verb

    table = read(source, project.models[name], limit=rows)
    with _loop(project) as loop:
        entry = from_table(loop, name, table)
    decision = entry.decision
    promised = ", ".join(f"{m} {v:.4f}" for m, v in decision.basis["promised"].items())
    return (
        f"{name}: version {decision.version} is the champion, from {len(table.labels)} rows; "
        f"promised: {promised}; block {decision.basis['block']}"
    )


class _loop:  # noqa: N801  used like a function, with `with`
    """A loop with its training process, for one verb."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def __enter__(self) -> Any:
        """Open the store and make the loop."""
        from continualml.loop.cycle import Loop  # noqa: PLC0415  only when needed
        from continualml.loop.training import Limits, Trainer  # noqa: PLC0415  only when needed
        from continualml.store.engine import open_store  # noqa: PLC0415  only when needed

        said = self._project.settings
        limits = Limits(seconds=said.train_timeout_seconds, memory_mb=said.train_memory_mb)
        self._trainer = Trainer(limits)
        return Loop(
            engine=open_store(said.database_url),
            artifacts=said.artifacts,
            models=self._project.models,
            trainer=self._trainer,
            holder=f"command@{socket.gethostname()}:{os.getpid()}",
        )

    def __exit__(self, *_: object) -> None:
        """End the training process."""
        self._trainer.close()


def _model(project: Project, name: str | None) -> str:
    chosen = name or project.default
    if chosen not in project.models:
        raise InputError("model", expected=f"one of {sorted(project.models)}", got=chosen)
    return chosen


def _admin(project: Project) -> str:
    if project.settings.api_key is not None:
        return project.settings.api_key.get_secret_value()
    path = project.settings.admin_token
    if not path.exists():
        raise InputError(
            str(path), expected="the admin token", got=None, remedy="start the API first"
        )
    return path.read_text(encoding="utf-8").strip()


def _print(told: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    if not told:
        typer.echo("nothing")
        return
    table = Printed()
    columns = list(dict.fromkeys(key for row in told for key in row))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in told:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    Console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _toml(name: str, target: str, features: Any, classes: tuple[str, ...]) -> str:
    kind = "classification" if classes else "regression"
    lines = [
        f"[models.{json.dumps(name)}]",
        f'kind = "{kind}"',
        f"target = {json.dumps(target)}",
        *([f"classes = {json.dumps(list(classes), ensure_ascii=False)}"] if classes else []),
        *([] if classes else ["bound = 1.0                 # an error that counts as a loss of 1"]),
        'learner = "sklearn.linear_model.LogisticRegression"'
        if classes
        else 'learner = "sklearn.linear_model.Ridge"',
        "",
        "# Missing values are allowed unless a feature says { kind = ..., nullable = false }.",
        f"[models.{json.dumps(name)}.features]",
        *(f'{json.dumps(f.name, ensure_ascii=False)} = "{f.kind}"' for f in features),
        "",
        f"[models.{json.dumps(name)}.policy]",
        'retrain = "standing"                    # or "on_alarm": learn only below the threshold',
        "# threshold = 0.8                       # lowest accuracy; else the champion promises",
        'false_alarms = "1 per 10000 rows"       # expected rows to an alarm without a change',
        'false_promotions = "1 per 10000 rows"   # and to a promotion of what is not better',
        "# block = 24                            # rows that hang together; estimated if left out",
        "",
    ]
    return "\n".join(lines)


def _say_error(text: str) -> None:
    Console(stderr=True).print(f"[red]error:[/red] {text}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
