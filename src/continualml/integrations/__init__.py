"""One file for each outside world; none knows its neighbour."""
