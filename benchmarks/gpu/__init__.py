"""One command for a bare machine with a GPU: checks all that could not be proven without one."""
