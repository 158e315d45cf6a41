"""What answers: one training for all servers, and other learners of ours on the same rows."""

import json
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from benchmarks.serving.bodies import CLASSES, DATA, FEATURES, ROOT, TRAINED_ON
from continualml import settings
from continualml.learning.fit import fit
from continualml.learning.learners import make
from continualml.learning.merge import merge
from continualml.learning.pipeline import preparation
from continualml.learning.table import read
from continualml.model import Learner, Model
from continualml.records import Window
from continualml.scoring.session import Session
from continualml.store import artifacts, pointers
from continualml.store.engine import open_store, write

CONFIG: Final = ROOT / "examples/electricity/continual.toml"
NAME: Final = "electricity"
LOGISTIC: Final = Learner()
LOGISTIC_NAME: Final = "logistic regression"
LEARNERS: Final = {
    LOGISTIC_NAME: LOGISTIC,
    "LightGBM": Learner(name="lightgbm.LGBMClassifier"),
    "random forest": Learner(name="sklearn.ensemble.RandomForestClassifier"),
}
BLEND: Final = "blend of four"
_MEMBERS: Final = (400, 600, 800, 1_000)  # rows that each member has seen, the newest
_SAME: Final = 1e-5


def make_all(folder: Path) -> None:
    """Make a data directory for each champion of ours, and ``model.json`` for all peers."""
    model = settings.load(CONFIG).models[NAME]
    window = _window(model)
    for name, learner in LEARNERS.items():
        made = fit(model, learner, window, seed=0, strategy="first")
        install(folder / name, model, made.artifact, made.manifest)
        if learner is LOGISTIC:
            coefficients(folder / "model.json", model, window, made.artifact)
    members = [
        (
            f"newest-{n}",
            i + 1,
            fit(
                model,
                LOGISTIC,
                window.part(TRAINED_ON - n, TRAINED_ON),
                seed=0,
                strategy=f"newest-{n}",
            ).artifact,
        )
        for i, n in enumerate(_MEMBERS)
    ]
    artifact, manifest = merge(model, members, window.rows, strategy="blend")
    install(folder / BLEND, model, artifact, manifest, weights=(0.1, 0.2, 0.3, 0.4))


def install(
    folder: Path,
    model: Model,
    artifact: bytes,
    manifest: dict[str, Any],
    weights: tuple[float, ...] = (),
) -> None:
    """Make a store whose champion is this artifact."""
    at = settings.load(CONFIG, data=folder).settings
    sha256 = artifacts.write(at.artifacts, artifact)
    engine = open_store(at.database_url)
    with write(engine) as conn:
        known = pointers.register(
            conn,
            model.name,
            sha256,
            strategy=manifest["strategy"],
            manifest=manifest,
            recorded_at="2026-01-01T00:00:00Z",
        )
        revision = 1 if weights else None
        pointers.point(
            conn, model.name, "champion", known.version, 0, revision=revision, weights=weights
        )
    engine.dispose()


def coefficients(path: Path, model: Model, window: Window, artifact: bytes) -> None:
    """Write the regression behind the artifact as coefficients of the plain columns.

    Raises
    ------
    ValueError
        If they do not answer as the artifact does.
    """
    columns = window.rows.numeric.astype(np.float32)
    steps = Pipeline(
        [("prepare", preparation(model, LOGISTIC)), ("learn", make(model, LOGISTIC, seed=0))]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # as in the fit of the artifact
        steps.fit(columns, window.target)
    scale, learnt = steps["prepare"]["scale"], steps["learn"]
    slopes = learnt.coef_[0] / scale.scale_
    kept = {
        "features": list(FEATURES),
        "classes": list(CLASSES),
        "coefficients": slopes.tolist(),
        "intercept": float(learnt.intercept_[0] - slopes @ scale.mean_),
    }
    path.write_text(json.dumps(kept), encoding="utf-8")
    difference = np.abs(expected(path, columns) - Session(artifact).answer(window.rows)).max()
    if not difference <= _SAME:
        raise ValueError(f"the coefficients differ from the artifact by {difference:.2g}")


def expected(path: Path, rows: Any) -> NDArray[np.float64]:
    """Return (rows, classes) probabilities by the coefficients in ``path``."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    score = np.asarray(rows, dtype=np.float64) @ np.array(kept["coefficients"]) + kept["intercept"]
    up = 1 / (1 + np.exp(-score))
    return np.stack([1 - up, up], axis=1)


def _window(model: Model) -> Window:
    table = read(DATA, model, limit=TRAINED_ON)
    n = len(table.labels)
    numbers = np.arange(1, n + 1)
    return Window(
        seq=numbers,
        observation_seq=numbers,
        rows=table.rows,
        target=np.array([float(CLASSES.index(str(t))) for t in table.labels]),
        version=np.zeros(n, dtype=np.int64),
        answer=np.full((n, model.width), np.nan),
    )
