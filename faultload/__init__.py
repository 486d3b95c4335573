"""faultload runs a workload and a faultload on one clock and judges what the users saw."""

__version__ = "0.1.0"
