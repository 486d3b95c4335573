"""The network agent: faults inside a network namespace."""
