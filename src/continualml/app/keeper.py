"""Ends what a killed tree leaves behind; started by ``up``, asked by nobody.

Its standard input is a pipe that only ``up`` holds open: when that is gone, however it went, the
pipe ends. Until everybody is gone it holds the lock of the data directory, which it inherited.
"""

import signal
import sys

import psutil

from continualml.app import tree


def main() -> None:
    """Wait until the first process of the tree is gone; then end all that carry its mark."""
    sys.stdin.buffer.read()
    mark = sys.argv[1]
    there = tree.marked(mark)
    tree.tell(there, signal.SIGTERM)
    psutil.wait_procs(there, timeout=tree.TERM_S)
    while there := tree.marked(mark):  # also those that were started meanwhile
        tree.tell(there, signal.SIGKILL)
        psutil.wait_procs(there, timeout=tree.TERM_S)


if __name__ == "__main__":
    main()
