"""What is left of the log after a power cut, at any instant? The store's code on a watched disk."""
