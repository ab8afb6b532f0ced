"""Tracking stores -> tidy polars frames: what `analysis.load` is made of.

A source (`database`, `server`) yields runs and points as they are stored; `tidy` makes frames of
them, `cache` keeps the points of a file, `files` reads the tables and configs beside them.
"""
