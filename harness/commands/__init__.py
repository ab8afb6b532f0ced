"""The work of the commands that do not train; their entries stand beside this folder."""
