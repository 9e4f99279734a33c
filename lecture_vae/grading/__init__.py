"""The grader is the package ``lecture_grader``; notebooks that were handed out name this place."""
