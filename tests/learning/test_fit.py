import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from continualml.errors import InputError
from continualml.learning.fit import LearningError, fit
from continualml.model import Feature, Learner, Model
from continualml.records import Rows, Window
from continualml.scoring.session import Session
from tests.learning import own

NUMERIC = tuple(Feature(name=f"x{i}") for i in range(4))
PLAIN = Model(name="m", kind="classification", target="y", classes=("a", "b"), features=NUMERIC)
MIXED = Model(
    name="m",
    kind="classification",
    target="y",
    classes=("a", "b", "never"),
    features=(*NUMERIC, Feature(name="colour", kind="categorical")),
)
VALUE = Model(name="m", kind="regression", target="y", features=NUMERIC)


def window(model: Model, n: int = 400) -> Window:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n, len(model.numeric)))
    signal = numbers[:, 0] + rng.normal(size=n)
    numbers[rng.random(numbers.shape) < 0.05] = np.nan
    colours = np.array(["red", "grün", "", "blue"], dtype=object)
    target = (signal > 0).astype(float) if model.classes else signal
    ids = np.arange(1, n + 1)
    return Window(
        seq=ids * 2,
        observation_seq=ids,
        rows=Rows(numeric=numbers, categorical=rng.choice(colours, (n, len(model.categorical)))),
        target=target,
        version=np.zeros(n, dtype=np.int64),
        answer=np.full((n, model.width), np.nan),
    )


@pytest.mark.parametrize(
    ("model", "learner"),
    [
        (PLAIN, "tests.learning.own:curved"),
        (PLAIN, "sklearn.linear_model.LogisticRegression"),
        (MIXED, "sklearn.linear_model.LogisticRegression"),
        (MIXED, "sklearn.ensemble.RandomForestClassifier"),
        (MIXED, "sklearn.ensemble.GradientBoostingClassifier"),
        (PLAIN, "sklearn.naive_bayes.GaussianNB"),
        (PLAIN, "lightgbm.LGBMClassifier"),
        (VALUE, "sklearn.linear_model.Ridge"),
        (VALUE, "sklearn.ensemble.RandomForestRegressor"),
        (VALUE, "lightgbm.LGBMRegressor"),
    ],
)
def test_what_is_served_answers_as_the_learner_did(model: Model, learner: str) -> None:
    rows = window(model)
    fitted = fit(model, Learner(name=learner), rows, seed=1, strategy="s")
    session = Session(fitted.artifact)
    session.fits(model)
    session.warm()
    answer = session.answer(rows.rows)
    if model.classes:
        assert np.allclose(answer.sum(axis=1), 1, atol=1e-5)
        accuracy = (answer.argmax(axis=1) == rows.target).mean()
        assert accuracy > 0.65
        assert answer[:, 2:].sum() == 0  # a class never seen has no probability
    else:
        assert np.corrcoef(answer[:, 0], rows.target)[0, 1] > 0.5


def test_the_same_rows_and_seed_give_the_same_bytes() -> None:
    one, two = (fit(MIXED, Learner(), window(MIXED), seed=1, strategy="s") for _ in range(2))
    assert one.artifact == two.artifact
    assert one.manifest["rows"] == {
        "n": 400,
        "ranges": [[1, 400]],
        "sha256": one.manifest["rows"]["sha256"],
        "through": 800,
    }


@pytest.mark.parametrize(
    ("model", "learner", "said"),
    [
        (PLAIN, Learner(name="os.system"), "expected a class of scikit-learn or LightGBM"),
        (PLAIN, Learner(name="sklearn.linear_model.Ridge"), "does no classification"),
        (VALUE, Learner(name="sklearn.linear_model.LogisticRegression"), "does no regression"),
        (PLAIN, Learner(parameters=(("Q", 1),)), "has no parameter 'Q'"),
        (PLAIN, Learner(name="sklearn.linear_model.SGDClassifier"), "gives no probabilities"),
        (
            PLAIN,
            Learner(name="sklearn.ensemble.HistGradientBoostingClassifier"),
            "has no ONNX form here",
        ),
    ],
)
def test_a_learner_that_cannot_serve_is_refused_with_the_reason(
    model: Model, learner: Learner, said: str
) -> None:
    with pytest.raises(LearningError, match=said):
        fit(model, learner, window(model), seed=1, strategy="s")


def test_a_version_of_another_schema_is_refused_by_what_differs() -> None:
    session = Session(fit(PLAIN, Learner(), window(PLAIN), seed=1, strategy="s").artifact)
    with pytest.raises(InputError, match=r"artifact\.schema\.classes"):
        session.fits(MIXED)
    with pytest.raises(InputError, match="artifact: expected a graph that loads"):
        Session(b"not a graph")


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("tests.learning.own:nothing", "gave a int, expected an estimator"),
        ("tests.learning.own:absent", "has no function 'absent'"),
        ("no_such_module_of_mine:f", "it is looked for where continual was started"),
    ],
)
def test_a_function_of_the_users_own_that_makes_no_estimator_is_refused(
    name: str, because: str
) -> None:
    with pytest.raises(LearningError, match=because):
        fit(PLAIN, Learner(name=name), window(PLAIN), seed=1, strategy="s")


def test_the_function_of_the_guide_has_ten_lines_and_is_the_one_that_is_tried_here(
    tmp_path: Path,
) -> None:
    guide = (Path(__file__).parents[2] / "docs/strategies.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    curved = runpy.run_path(str(tmp_path / "mine.py"))["curved"]
    assert repr(curved(7, degree=3)) == repr(own.curved(7, degree=3))


def test_a_users_own_function_takes_its_parameters_from_the_file() -> None:
    learner = Learner(name="tests.learning.own:curved", parameters=(("degree", 3),))
    assert fit(PLAIN, learner, window(PLAIN), seed=1, strategy="s").manifest["learner"] == {
        "name": "tests.learning.own:curved",
        "parameters": {"degree": 3},
    }
