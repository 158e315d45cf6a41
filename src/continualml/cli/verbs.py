"""Every verb by its name, and the edge at which errors become exit codes."""

import sys

import typer

from continualml.cli import (
    checking,
    commanding,
    configuring,
    doctor,
    explaining,
    keeping,
    looking,
    notifying,
    running,
    scoring,
    tokens,
    trying,
    turning,
    watching,
)
from continualml.cli.exits import CONFIGURATION, FAILED, INTERRUPTED, OK, RUNNING, UNREACHABLE
from continualml.cli.printing import say_error
from continualml.errors import AlreadyRunningError, InputError, UnreachableError

app = typer.Typer(
    name="continual",
    help="Keeps a deployed model right by itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(configuring.init)
app.command()(running.up)
app.command()(running.serve)
app.command()(running.dashboard)
app.command()(turning.cycle)
app.command()(turning.train)
app.command()(scoring.score)
app.command("replay-stream")(running.replay_stream)
app.command()(trying.backtest)
app.command()(trying.simulate)
app.command()(commanding.promote)
app.command()(commanding.rollback)
app.command()(commanding.accept)
app.command()(looking.status)
app.command()(looking.decisions)
app.command()(explaining.explain)
app.command("explain-policy")(explaining.explain_policy)
app.command()(checking.replay)
app.command()(checking.verify)
app.command()(keeping.backup)
app.command()(keeping.restore)
app.command()(keeping.gc)
app.command()(doctor.doctor)
app.add_typer(tokens.app, name="token")
app.add_typer(configuring.app, name="config")
app.add_typer(notifying.app, name="notify")
app.add_typer(watching.app, name="kuma")


def main() -> None:
    """Run the command; say errors of the user's in one sentence, without a traceback."""
    from continualml.app import logs  # noqa: PLC0415  only when needed
    from continualml.store.engine import (  # noqa: PLC0415  only when needed
        StoreDamagedError,
        StoreUnavailableError,
    )

    logs.begin(people=True)
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        say_error(str(error))
        code = CONFIGURATION
    except StoreDamagedError as error:
        say_error(str(error))
        code = FAILED
    except StoreUnavailableError as error:
        say_error(f"the store cannot be opened: {error}")
        code = UNREACHABLE
    except UnreachableError as error:
        say_error(str(error))
        code = UNREACHABLE
    except AlreadyRunningError as error:
        say_error(str(error))
        code = RUNNING
    except (KeyboardInterrupt, typer.Abort):
        say_error("stopped")
        code = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        show = getattr(error, "show", None)
        if show is not None:
            show()
        code = int(error.exit_code)
    sys.exit(code if isinstance(code, int) else OK)
