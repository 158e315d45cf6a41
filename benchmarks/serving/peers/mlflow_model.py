"""Keep the model as MLflow does, in the folder that is named."""

import sys

import mlflow.sklearn
import numpy as np
from estimator import features, load
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

if __name__ == "__main__":
    model = load()
    model.feature_names_in_ = np.array(features(), dtype=object)  # it is asked with a DataFrame
    mlflow.sklearn.save_model(
        model,
        sys.argv[1],
        signature=ModelSignature(inputs=Schema([ColSpec("double", n) for n in features()])),
        pip_requirements=["scikit-learn"],
        pyfunc_predict_fn="predict_proba",
    )
