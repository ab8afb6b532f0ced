"""YAML tree of one trial; a package so that Hydra finds it as pkg://conf."""
