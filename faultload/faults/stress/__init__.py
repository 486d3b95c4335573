"""Faults that take processor time and memory."""
