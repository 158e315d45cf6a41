import numpy as np
import pytest
import skops.io
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from continualml.learning.fit import LearningError, fit
from continualml.learning.resume import resumed
from continualml.loop import backtest, simulate
from continualml.loop.training import Trainer
from continualml.model import Learner, Model, Policy, Strategy
from continualml.scoring.artifact import trained_on
from continualml.scoring.session import Session
from tests.learning.test_fit import MIXED, PLAIN, VALUE, window

SGD = Learner(name="sklearn.linear_model.SGDClassifier", parameters=(("loss", "log_loss"),))
SGD_VALUE = Learner(name="sklearn.linear_model.SGDRegressor")
BAYES = Learner(name="sklearn.naive_bayes.GaussianNB")


@pytest.mark.parametrize(
    ("model", "learner"), [(PLAIN, SGD), (MIXED, SGD), (VALUE, SGD_VALUE), (PLAIN, BAYES)]
)
def test_a_learner_goes_on_from_where_it_was(model: Model, learner: Learner) -> None:
    rows = window(model)
    first = fit(model, learner, rows.part(0, 300), seed=1, strategy="s", resumes=True)
    second = fit(
        model,
        learner,
        rows.part(300, 400),
        seed=1,
        strategy="s",
        resumes=True,
        state=first.state,
        before=first.manifest["rows"],
    )
    session = Session(second.artifact)
    before, after = Session(first.artifact).answer(rows.rows), session.answer(rows.rows)
    assert np.abs(after - before).max() > 0
    assert trained_on(session.manifest, rows.observation_seq).all()  # also what it learnt before
    again = fit(
        model,
        learner,
        rows.part(300, 400),
        seed=1,
        strategy="s",
        resumes=True,
        state=first.state,
        before=first.manifest["rows"],
    )
    assert again.artifact == second.artifact


def test_a_learner_that_cannot_go_on_is_refused_by_name() -> None:
    with pytest.raises(LearningError, match="LogisticRegression cannot go on learning"):
        fit(PLAIN, Learner(), window(PLAIN), seed=1, strategy="s", resumes=True)


def test_a_kept_learner_with_a_type_that_is_not_ours_is_not_built() -> None:
    rows = window(PLAIN)
    strange = make_pipeline(FunctionTransformer(np.linalg.norm), SGDClassifier())
    data = skops.io.dumps(strange)
    with pytest.raises(LearningError, match="is not ours"):
        resumed(data, rows.rows.numeric, rows.target)
    with pytest.raises(LearningError, match="cannot be read"):
        resumed(b"no archive", rows.rows.numeric, rows.target)


def test_a_strategy_that_resumes_follows_the_drift_with_few_rows_a_refit(
    trainer: Trainer,
) -> None:
    policy = Policy(
        block=24,
        strategies=(Strategy(name="online", window=400, refit=50, learner=SGD, resumes=True),),
    )
    made = simulate.stream("abrupt", 2_400, np.random.default_rng(4), policy=policy)
    recorded = backtest.from_rows(made.model, made.rows, made.target, delay=0, first=600)
    result = backtest.run(recorded, trainer, policy="online")
    refits = [d for _, d in result.decisions if d.kind in {"accept", "follow"}]
    assert len(refits) > 15
    manifest = recorded.session(max(recorded.states)).manifest
    assert manifest["rows"]["n"] > 1_000  # all that it learnt since the beginning
