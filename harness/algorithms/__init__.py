"""Algorithms: one file and one YAML each. Pure functions on tensors, nothing distributed."""
