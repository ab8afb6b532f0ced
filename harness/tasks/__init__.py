"""Tasks: prompts and the grading of a response."""
