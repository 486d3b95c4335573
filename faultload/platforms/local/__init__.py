"""Targets that are processes of this machine."""
