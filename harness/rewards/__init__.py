"""Rewards: score a batch of graded responses."""
