"""Targets in containers."""
