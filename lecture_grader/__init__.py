"""Exercises and their grading: the `[grading]` extra, which the lecture itself never imports."""
