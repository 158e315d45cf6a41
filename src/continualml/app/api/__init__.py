"""The serving process: predictions, labels and what can be read about them, over HTTP."""
