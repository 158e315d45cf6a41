"""docs/dependencies.md names each direct dependency, with the licence that it states itself."""

import re
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ROW = re.compile(
    r"^\| (?P<name>[\w-]+) \| (?P<why>[^|]+) \| (?P<licence>[^|]+) \| [^|]+ \|$", re.MULTILINE
)
LONGEST = 60  # some put the whole text of the licence there


def direct() -> set[str]:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = told["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *told["dependency-groups"].values(),
    ]
    written = [Requirement(r) for each in lists for r in each if isinstance(r, str)]
    return {r.name for r in written if r.name != project["name"]}


def stated(name: str) -> str:
    """Return the licence of the metadata: its expression, else its short name, else its class."""
    found = distribution(name)
    for key in ("License-Expression", "License"):
        said = str(found.metadata[key]) if key in found.metadata else ""
        if said.strip() not in {"", "UNKNOWN"} and "\n" not in said and len(said) <= LONGEST:
            return said
    classes: list[str] = found.metadata.get_all("Classifier") or []
    last = next(c.rsplit(" :: ", 1)[-1] for c in classes if c.startswith("License ::"))
    if last != "OSI Approved":
        return last
    text = next(f for f in found.files or () if f.name.startswith("LICENSE"))
    return Path(str(text.locate())).read_text("utf-8").splitlines()[0]


def test_every_direct_dependency_is_listed_with_its_reason_and_the_licence_that_it_states() -> None:
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    listed = {r["name"]: r for r in ROW.finditer(text) if r["name"] not in {"package", "---"}}

    assert listed.keys() == direct()
    wrong = {n: stated(n) for n, row in listed.items() if row["licence"].strip() != stated(n)}
    assert wrong == {}


def test_what_is_locked_is_what_is_installed_and_every_file_has_a_hash() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    locked = {(p["name"], p.get("version")) for p in lock["package"]}

    for name in direct():
        assert (name, version(name)) in locked
    for package in lock["package"]:
        files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
        assert files or package["source"] == {"editable": "."}
        assert all(file["hash"].startswith("sha256:") for file in files)
