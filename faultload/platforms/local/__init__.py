"""Targets that are processes on this machine."""
