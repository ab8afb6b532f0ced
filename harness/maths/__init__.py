"""Mathematics: reductions, returns and random streams; nothing that runs anything."""
