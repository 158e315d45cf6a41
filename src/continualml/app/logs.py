"""What every process writes about itself: one line for people or one JSON object, no secrets.

All goes to standard error: our own lines, those of libraries that use ``logging`` (uvicorn,
Prefect, SQLAlchemy, Alembic), warnings, and errors that end a thread or the process.
"""

import json
import logging
import os
import sys
import threading
import traceback
from contextvars import ContextVar
from datetime import UTC
from types import TracebackType
from typing import TYPE_CHECKING, Any

from loguru import logger

from continualml.app.redaction import hide, redacted

if TYPE_CHECKING:
    from loguru import Message, Record

    from continualml.settings import Settings

# What a line is about; each has these keys in JSON, null where it is about none.
KEYS = ("event", "model", "version", "observation_id", "decision", "trace")
# The trace of the request that this task or thread works for.
TRACE: ContextVar[str | None] = ContextVar("trace", default=None)
_FOREIGN = (
    *("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("MLFLOW_TRACKING_PASSWORD", "PREFECT_API_AUTH_STRING"),
)
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_STREAMS = (sys.__stderr__, sys.__stdout__)
# Line feeds and tabs are text; the rest could make a terminal lie.
_CONTROLS = {i: f"\\x{i:02x}" for i in (*range(9), *range(11, 32), 127)}


def begin(said: "Settings | None" = None, *, people: bool = False) -> None:
    """Write the log of this process from here on; once again when its settings are known.

    A traceback shows its lines, never the values of its variables: those hold passwords, tokens
    and people's features.

    Parameters
    ----------
    said
        Their format holds, and their secrets are hidden; without, the environment's format does.
    people
        Somebody reads it, even where standard error is no terminal.
    """
    form = said.log_format if said is not None else _of_environment()
    if said is not None:
        hide(*_secrets(said))
    as_json = form == "json" or (form == "auto" and not (people or sys.stderr.isatty()))
    logger.remove()
    logger.add(_write_json if as_json else _write_line, format=_nothing, diagnose=False)
    _take_in()


def _of_environment() -> str:
    return os.environ.get("CONTINUAL_LOG_FORMAT") or os.environ.get("LOG_FORMAT") or "auto"


def _secrets(said: "Settings") -> list[str]:
    """Collect what the settings hold of secrets, passwords inside addresses too."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415  the trainer has no settings
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    from continualml.settings import secret_fields  # noqa: PLC0415

    secrets = [getattr(said, name) for name in secret_fields()]
    found = [s.get_secret_value() for s in secrets if s]
    # Those of libpq and others: they come by no setting of ours.
    found += [os.environ.get(name, "") for name in _FOREIGN]
    for url in (said.database_url, said.mlflow_tracking_uri, said.prefect_api_url, said.kuma_url):
        try:
            password = make_url(url).password if url else None
        except ArgumentError:  # a directory, or a word such as "databricks"
            continue
        if password:
            found.append(str(password))
    return found


def _nothing(_record: "Record") -> str:
    """Let loguru format nothing: it would write a traceback before anything is hidden."""
    return ""


def _write_json(message: "Message") -> None:
    record = message.record
    extra = _extra(record)
    line: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": record["message"],
        **{key: extra.pop(key, None) for key in KEYS},
        "logger": record["name"],
        "process": record["process"].id,
        **({"extra": extra} if extra else {}),
        **({"exception": told} if (told := _traceback(record)) else {}),
    }
    _put(json.dumps(_hidden(line), ensure_ascii=False))


def _write_line(message: "Message") -> None:
    record = message.record
    level = record["level"].name
    about = "".join(f" {k}={v}" for k, v in _extra(record).items() if v is not None)
    told = f"{record['message']}{f' [{about[1:]}]' if about else ''}"
    head = f"{record['time']:YYYY-MM-DD HH:mm:ss.SSS} {level:<8} "
    if sys.stderr.isatty():
        head = f"{_COLOURS.get(level, '')}{head}{_PLAIN}"
    text = redacted(f"{told}\n{_traceback(record)}".rstrip()).translate(_CONTROLS)
    _put(f"{head}{text}")


def _extra(record: "Record") -> dict[str, Any]:
    return {"trace": TRACE.get(), **record["extra"]}


def _traceback(record: "Record") -> str:
    error = record["exception"]
    if error is None or error.type is None:
        return ""
    return "".join(traceback.format_exception(error.type, error.value, error.traceback))


def _hidden(value: Any) -> Any:
    """Hide secrets in every text of a value; what JSON has no word for becomes a text."""
    match value:
        case bool() | int() | float() | None:
            return value
        case dict():
            return {str(key): _hidden(one) for key, one in value.items()}
        case list() | tuple():
            return [_hidden(one) for one in value]
        case _:
            # Lone surrogates would not survive the way out as UTF-8.
            return redacted(str(value)).encode("utf-8", "backslashreplace").decode()


def _put(line: str) -> None:
    """Write one line at once, so that those of several processes do not mix."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads any more: the terminal was closed, or the pipe


class _Taken(logging.Handler):
    """Hands what libraries log to our log."""

    def __init__(self) -> None:
        super().__init__()
        # Prefect replaces the root's handlers unless one has a formatter.
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that cannot be formatted is written as it stands."""
        try:
            said = record.getMessage()
        except (TypeError, ValueError):
            said = f"{record.msg} {record.args}"
        known = record.levelname in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
        level = record.levelname if known else record.levelno

        def named(line: "Record") -> None:
            line["name"] = record.name

        logger.patch(named).opt(exception=record.exc_info).log(level, said)


def _take_in() -> None:
    root = logging.getLogger()
    if not any(isinstance(h, _Taken) for h in root.handlers):
        root.addHandler(_Taken())
    for one in logging.root.manager.loggerDict.values():
        if not isinstance(one, logging.Logger):
            continue
        for handler in [h for h in one.handlers if _is_to_terminal(h)]:
            one.removeHandler(handler)
            one.propagate = True
    logging.captureWarnings(capture=True)
    sys.excepthook = _ended
    threading.excepthook = _thread_ended


def _is_to_terminal(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream is not None and stream in (*_STREAMS, sys.stderr, sys.stdout)


def _ended(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
        return
    logger.opt(exception=(kind, error, where)).critical("the process ended: {}", kind.__name__)


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    logger.opt(exception=error).error("the thread {} ended: {}", name, args.exc_type.__name__)
