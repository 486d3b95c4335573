"""Faults that use up processor time and memory."""
