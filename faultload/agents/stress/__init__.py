"""Stressors, and what measures them, inside a control group."""
