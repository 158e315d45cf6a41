"""From labelled rows to an artifact, repeatable with a seed; the room of scikit-learn."""
