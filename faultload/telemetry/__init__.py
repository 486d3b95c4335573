"""Telemetry: what the target's instances and the load generator used while the run was on."""
