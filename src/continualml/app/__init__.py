"""What runs: each process in a module or room of its own; none imports another."""
