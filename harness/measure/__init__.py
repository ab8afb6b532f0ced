"""Measuring: evaluations, and what responses show of how they came about."""
