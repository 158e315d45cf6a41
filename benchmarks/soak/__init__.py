"""Does anything grow that should not: with time under load, and with the length of the log."""
