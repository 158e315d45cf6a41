"""Start the dashboard's server: loopback unless asked, nothing told to anybody."""

import importlib.util
import os
import sys
from pathlib import Path

from continualml import settings
from continualml.app.dashboard import provider
from continualml.errors import InputError, Said
from continualml.settings import Settings

API = "CONTINUAL_API_URL"
_SECRETS = ("API_KEY", "PASSWORD", "WEBHOOK_URL", "CLIENT_SECRET")


def command(said: Settings) -> list[str]:
    """Write what starts the server."""
    flags = {
        "server.address": said.host,
        "server.port": said.dashboard_port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.runOnSave": "false",
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "theme.light.primaryColor": "#0067A3",
        "theme.dark.primaryColor": "#2880B8",
        "logger.level": "warning",
        "logger.enableRich": "false",
    }
    page = Path(__file__).with_name("page.py")
    if said.oidc_url is not None:
        flags["secrets.files"] = provider.file(said)
    told = [f"--{name}={value}" for name, value in flags.items()]
    return [sys.executable, "-m", "streamlit", "run", str(page), *told]


def serve(said: Settings) -> None:
    """Become the server.

    Raises
    ------
    InputError
        If the extra is not installed, or a provider is set without the dashboard's secret there.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise InputError(
            "dashboard",
            expected="the extra dashboard",
            got=Said("none here"),
            remedy='pip install "continualml[dashboard]"',
        )
    os.environ[API] = said.api
    provider.tell(said)
    for name in [n for n in os.environ if n.endswith(_SECRETS)]:
        del os.environ[name]  # it asks with the session of who looks, and needs no secret
    argv = command(said)
    os.execv(argv[0], argv)  # noqa: S606  # nosec B606  our own interpreter, no shell


if __name__ == "__main__":
    serve(settings.load().settings)
