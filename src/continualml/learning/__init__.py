"""Labelled rows to a checked artifact, repeatable with a seed; brings scikit-learn."""
