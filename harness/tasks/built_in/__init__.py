"""One file a task that comes with the harness, found by its name."""
