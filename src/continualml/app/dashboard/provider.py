"""What the dashboard's start leaves for its server and pages where an OpenID provider is set."""

import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from continualml.errors import InputError, Said
from continualml.settings import Settings

NAME: Final = "CONTINUAL_OIDC_NAME"
URL: Final = "CONTINUAL_OIDC_URL"
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  # nosec B104  compared, not listened on


def file(said: Settings) -> Path:
    """Write what Streamlit needs to know for it, into a file that its owner alone may read.

    The secret of its cookies is drawn at each start: they end with the process.

    Raises
    ------
    InputError
        If the dashboard's secret at the provider is missing.
    """
    if said.oidc_url is None or said.oidc_client_secret is None:
        raise InputError(
            "CONTINUAL_OIDC_CLIENT_SECRET",
            expected="the dashboard's secret at the provider",
            got=Said("none"),
            remedy="set it, or CONTINUAL_OIDC_CLIENT_SECRET_FILE",
        )
    host = "127.0.0.1" if said.host in _EVERYWHERE else said.host
    base = (said.dashboard_url or f"http://{host}:{said.dashboard_port}").rstrip("/")
    told = {
        "redirect_uri": f"{base}/oauth2callback",
        "cookie_secret": secrets.token_urlsafe(32),
        "client_id": said.oidc_client_id,
        "client_secret": said.oidc_client_secret.get_secret_value(),
        "server_metadata_url": description(said.oidc_url),
        "expose_tokens": ["id"],
    }
    # Strings and lists of JSON are those of TOML.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in told.items()]
    said.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made for its owner alone, whatever the umask is; nobody finds it half written.
    fresh, name = tempfile.mkstemp(dir=said.data, prefix="dashboard.secrets.")
    with os.fdopen(fresh, "w", encoding="utf-8") as out:
        out.write("\n".join(["[auth]", *lines, ""]))
    path = said.data / "dashboard.secrets.toml"
    Path(name).replace(path)
    return path.absolute()


def tell(said: Settings) -> None:
    """Tell the pages, through the environment, what people call the provider; or that none is."""
    os.environ.pop(URL, None)
    if said.oidc_url is not None:
        os.environ |= {URL: said.oidc_url, NAME: said.oidc_name}


def description(url: str) -> str:
    """Return where the provider says what it can do."""
    return f"{url.rstrip('/')}/.well-known/openid-configuration"
