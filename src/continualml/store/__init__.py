"""The log and its small mutable companions, on SQLite or, by another URL, PostgreSQL."""
