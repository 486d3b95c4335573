"""The run directory: the only package that knows its files."""
