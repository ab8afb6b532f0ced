"""Models: where the base policy comes from."""
