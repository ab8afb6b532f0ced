"""Learner: what is trained, and every update of it."""
