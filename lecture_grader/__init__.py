"""Exercises and the grader of notebooks: the `[grading]` extra, which no chapter imports."""
