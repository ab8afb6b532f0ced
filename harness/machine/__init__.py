"""The machine: files, processes, and what produced a number."""
