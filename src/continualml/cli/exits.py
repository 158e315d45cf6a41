"""Exit codes: what a script may rely on."""

OK = 0
FAILED = 1  # it failed, or is unhealthy
USAGE = 2
CONFIGURATION = 3  # or input
UNREACHABLE = 4  # something that is needed
RUNNING = 5  # already, on the same data directory
INTERRUPTED = 130  # with Ctrl-C
