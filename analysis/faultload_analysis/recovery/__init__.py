"""Faults and what followed: incidents, recovery, repeats, durability, overload."""
