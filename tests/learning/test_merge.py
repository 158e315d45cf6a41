from dataclasses import replace

import numpy as np
import pytest

from continualml.errors import InputError
from continualml.learning.fit import LearningError, fit
from continualml.learning.merge import merge
from continualml.model import Learner, Model
from continualml.records import Rows
from continualml.scoring.artifact import trained_on
from continualml.scoring.session import Session
from tests.learning.test_fit import MIXED, PLAIN, VALUE, window

LEARNERS = {
    "classification": (
        "sklearn.linear_model.LogisticRegression",
        "sklearn.ensemble.RandomForestClassifier",
        "lightgbm.LGBMClassifier",
    ),
    "regression": ("sklearn.linear_model.Ridge", "sklearn.ensemble.RandomForestRegressor"),
}


@pytest.mark.parametrize("model", [PLAIN, MIXED, VALUE])
def test_a_merged_graph_answers_with_the_weighted_mean_of_its_members(model: Model) -> None:
    rows = window(model)
    fitted = [
        fit(model, Learner(name=name), rows.part(40 * j, 300), seed=1, strategy=name).artifact
        for j, name in enumerate(LEARNERS[model.kind])
    ]
    members = [(f"s{j}", j + 1, data) for j, data in enumerate(fitted)]
    artifact, manifest = merge(model, members, rows.rows, strategy="blend")
    session = Session(artifact)
    session.fits(model)
    session.warm()

    each = [Session(data).answer(rows.rows) for data in fitted]
    for weights in np.random.default_rng(0).dirichlet(np.ones(len(fitted)), 5):
        wanted = sum(w * a for w, a in zip(weights, each, strict=True))
        said = session.answer(rows.rows, weights.astype(np.float32))
        np.testing.assert_allclose(said, wanted, rtol=1e-5, atol=1e-6)

    assert [m["version"] for m in manifest["members"]] == [v for _, v, _ in members]
    assert session.manifest == manifest
    seen = trained_on(manifest, rows.observation_seq)
    assert (seen == (np.arange(400) < 300)).all()  # the first member saw all that any saw


def test_the_same_members_give_the_same_bytes() -> None:
    rows = window(PLAIN)
    one = fit(PLAIN, Learner(), rows, seed=1, strategy="a").artifact
    two = fit(PLAIN, Learner(), rows.part(100, 400), seed=1, strategy="b").artifact
    members = [("a", 1, one), ("b", 2, two)]
    assert merge(PLAIN, members, rows.rows, strategy="blend") == merge(
        PLAIN, members, rows.rows, strategy="blend"
    )


def test_a_blend_without_its_weights_answers_nothing() -> None:
    rows = window(PLAIN)
    one = fit(PLAIN, Learner(), rows, seed=1, strategy="a").artifact
    artifact, _ = merge(PLAIN, [("a", 1, one), ("b", 2, one)], rows.rows, strategy="blend")
    few = Rows(numeric=rows.rows.numeric[:3], categorical=rows.rows.categorical[:3])
    with pytest.raises(InputError, match="expected the columns of the schema, and 2 weights"):
        Session(artifact).answer(few)


def test_members_of_another_schema_do_not_merge() -> None:
    rows = window(PLAIN)
    one = fit(PLAIN, Learner(), rows, seed=1, strategy="a").artifact
    wider = replace(PLAIN, features=(*PLAIN.features, *MIXED.features[-1:]))
    other = fit(wider, Learner(), window(wider), seed=1, strategy="b").artifact
    with pytest.raises(LearningError, match=r"m cannot be blended: artifact\.schema\.features"):
        merge(PLAIN, [("a", 1, one), ("b", 2, other)], rows.rows, strategy="blend")
