"""Keeps a deployed model right by itself."""
