"""Recording clients, one file per protocol."""
