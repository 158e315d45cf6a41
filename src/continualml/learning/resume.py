"""What a learner needs to go on learning: written as skops, read back only if every type is ours.

A pickle is never loaded: skops holds types by name, and these are all that may be built.
"""

import zipfile
from typing import Any

import skops.io
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from continualml.learning.learners import LearningError

# skops builds scikit-learn's public types by itself; these are the others that learners hold.
TRUSTED = frozenset({"numpy.dtype", "sklearn.neural_network._stochastic_optimizers.AdamOptimizer"})


def kept(pipeline: Pipeline) -> bytes:
    """Write a fitted pipeline.

    Raises
    ------
    LearningError
        If its last step cannot go on learning.
    """
    learner = pipeline.steps[-1][1]
    if not hasattr(learner, "partial_fit"):
        name = type(learner).__name__
        raise LearningError(f"{name} cannot go on learning (it has no partial_fit)")
    data: bytes = skops.io.dumps(pipeline, compression=zipfile.ZIP_DEFLATED)
    return data


def resumed(data: bytes, columns: Any, target: Any) -> Pipeline:
    """Read a pipeline back and let its last step learn more rows; the steps before stay.

    Raises
    ------
    LearningError
        If a type is not among those that may be built, or the data are no pipeline.
    """
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - TRUSTED)
        if unknown:
            raise LearningError(f"a kept learner holds the type {unknown[0]!r}, which is not ours")
        pipeline = skops.io.loads(data, trusted=sorted(TRUSTED))
    except (UntrustedTypesFoundException, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise LearningError(f"a kept learner cannot be read: {error}") from error
    if not isinstance(pipeline, Pipeline):
        raise LearningError(f"a kept learner is a {type(pipeline).__name__}, not a pipeline")
    prepared = pipeline[:-1].transform(columns)
    pipeline.steps[-1][1].partial_fit(prepared, target)
    return pipeline
