"""Faults that take disk bandwidth and space."""
