"""Faults on links and names: partition, isolate, latency, loss and more."""
