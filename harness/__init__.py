"""One trial: the training core and its plug-ins."""
