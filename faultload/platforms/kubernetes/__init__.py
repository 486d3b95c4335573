"""Targets in pods."""
