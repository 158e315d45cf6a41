"""``python -m continualml.app.alive PART`` tells by its exit code whether a part lives.

Containers ask it every few seconds, so it imports as little as the answer takes: a part that
listens is asked over HTTP, one that does not is known by its beat in the store.
"""

import http.client
import sys
from urllib.parse import urlsplit

_ANSWER_S = 4.0
_TIMER_S = 30.0
_PERIODS = 3


def main(part: str) -> int:
    """Return 0 if the part lives; else 1, and say why.

    Parameters
    ----------
    part
        The URL that answers, or ``timer`` or ``scheduled``.
    """
    fault = _answers(part) if "://" in part else _beats(part)
    if fault:
        sys.stderr.write(f"{part}: {fault}\n")
    return 1 if fault else 0


def _answers(url: str) -> str | None:
    parts = urlsplit(url)
    server = http.client.HTTPConnection(parts.netloc, timeout=_ANSWER_S)
    try:
        server.request("GET", parts.path or "/")
        status = server.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        server.close()
    return None if status == http.client.OK else f"answered {status}"


def _beats(part: str) -> str | None:
    from datetime import UTC, datetime  # noqa: PLC0415  not for what listens

    from continualml import settings  # noqa: PLC0415  not for what listens
    from continualml.store import leases  # noqa: PLC0415  not for what listens
    from continualml.store.engine import open_store  # noqa: PLC0415  not for what listens

    said = settings.load().settings
    names, longest_s = {
        "timer": ((leases.TIMER,), _TIMER_S),
        "scheduled": ((leases.TURNED, leases.SKIPPED), _PERIODS * said.check_interval_seconds),
    }[part]
    engine = open_store(said.database_url)
    beats = [beat for name in names if (beat := leases.last_beat(engine, name)) is not None]
    if not beats:
        return "no beat yet"
    age_s = datetime.now(UTC).timestamp() - max(beats)
    return None if age_s < longest_s else f"the last beat was {age_s:.0f} s ago"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
