"""Starts, watches and stops a reference system on any platform."""
