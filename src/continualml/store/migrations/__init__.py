"""Alembic migrations; they run by themselves when the store is opened."""
