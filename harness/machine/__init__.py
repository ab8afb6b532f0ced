"""The machine: files, processes, the terminal, and what produced a number."""
