"""The run directory: the one package that knows its files."""
