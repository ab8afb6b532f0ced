"""An algorithm in a package of its own; nothing of the harness is edited."""
