import sys
from pathlib import Path

import pytest

from continualml.cli import learnable
from continualml.settings import ConfigError, load

MODEL = """
[models.m]
kind = "classification"
target = "y"
classes = ["a", "b"]
learner = {learner}
features = {{ x = "numeric" }}
[[models.m.policy.strategies]]
name = "s"
window = 500
refit = 100
learner = {strategy}
"""
GOOD = '"sklearn.linear_model.LogisticRegression"'


def checked(tmp_path: Path, *, learner: str = GOOD, strategy: str = GOOD) -> None:
    path = tmp_path / "continual.toml"
    path.write_text(MODEL.format(learner=learner, strategy=strategy), encoding="utf-8")
    learnable.check(load(path))


def test_learners_that_can_be_made_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked(tmp_path)
    own = "from sklearn.tree import DecisionTreeClassifier\n"
    own += "def tree(*, seed):\n    return DecisionTreeClassifier(random_state=seed)\n"
    (tmp_path / "made_here.py").write_text(own, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    checked(tmp_path, learner='"made_here:tree"')
    checked(
        tmp_path,
        learner='{ name = "sklearn.ensemble.RandomForestClassifier", n_estimators = 10 }',
    )


@pytest.mark.parametrize(
    ("learner", "fault"),
    [
        ('"sklearn.linear_model.LogisticRegresion"', "there is no such estimator"),
        ('"xgboost.XGBClassifier"', "expected a class of scikit-learn or LightGBM"),
        (
            '{ name = "sklearn.linear_model.LogisticRegression", gamma = 1 }',
            "has no parameter 'gamma'",
        ),
        ('"sklearn.linear_model.Ridge"', "does no classification"),
        ('"nowhere.at_all:function"', "No module named 'nowhere'"),
    ],
)
def test_a_learner_that_cannot_be_made_is_named_with_its_line(
    tmp_path: Path, learner: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=r"continual\.toml:6: models\.m\.learner: ") as caught:
        checked(tmp_path, learner=learner)
    assert fault in str(caught.value)
    with pytest.raises(
        ConfigError, match=r":12: models\.m\.policy\.strategies\.0\.learner"
    ) as again:
        checked(tmp_path, strategy=learner)
    assert fault in str(again.value)
