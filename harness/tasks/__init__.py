"""Benchmarks: problems, worked solutions, mistakes in them, grading. One short file a task, reached by `load_task`."""
