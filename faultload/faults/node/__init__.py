"""Faults on whole nodes."""
