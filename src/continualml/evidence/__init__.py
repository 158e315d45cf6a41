"""Running evidence as pure folds: state and rows in, state and events out."""
