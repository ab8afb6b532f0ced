"""Distributed: several processes as one trial."""
