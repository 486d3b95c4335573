"""Faults that use up disk bandwidth and space."""
