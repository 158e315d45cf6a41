"""Faults against a running process tree under load, and what they cost."""
