"""Faults on processes: kill, terminate, restart, pause, scale."""
