"""Faults on databases: failover, switchover, replication, connections."""
