"""Starts a program again in the circumstances that another process ran in."""
