"""The login of Prefect's and MLflow's pages: drawn, kept close, and given to few."""

from configparser import ConfigParser
from pathlib import Path

import pytest

from continualml import settings
from continualml.app import pages, up
from continualml.errors import InputError

MODEL = '[models.m]\nkind = "regression"\ntarget = "y"\nfeatures = { x = "numeric" }\n'


def test_it_is_drawn_once_and_a_new_one_makes_mlflow_forget_the_old(tmp_path: Path) -> None:
    path, mlflow = tmp_path / "data/pages.login", tmp_path / "data/100% mlflow"
    first = pages.login_in(path, mlflow)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text("utf-8") == f"admin:{first.password}\n"
    assert len(set(first.password)) >= 12
    assert first.password not in repr(first)

    said = pages.of_mlflow_server(first, mlflow)
    read = ConfigParser()
    read.read(said["MLFLOW_AUTH_CONFIG_PATH"])  # as MLflow reads it
    users = Path(read["mlflow"]["database_uri"].removeprefix("sqlite:///"))
    users.write_bytes(b"who may")
    assert pages.login_in(path, mlflow) == first
    assert users.exists()

    path.unlink()
    assert pages.login_in(path, mlflow) != first
    assert not users.exists()


def test_a_login_that_others_may_read_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "pages.login"
    path.write_text("admin:known-to-others", "utf-8")
    path.chmod(0o640)

    with pytest.raises(InputError, match="mode 0600"):
        pages.login_in(path, tmp_path)


def test_only_who_needs_the_login_gets_it_and_never_on_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "continual.toml").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def knowing() -> set[str]:
        project = settings.load()
        some = up.components(project, None)
        password = project.settings.page_login.read_text("utf-8").strip().partition(":")[2]
        assert not [c.name for c in some if password in " ".join(c.command) or password in repr(c)]
        return {c.name for c in some if password in " ".join(c.environment.values())}

    assert knowing() == {"prefect", "scheduled", "mlflow", "courier"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert knowing() == {"prefect", "scheduled"}
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert knowing() == set()  # servers of your own are not told ours
