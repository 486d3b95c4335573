"""Recording clients, one file a protocol."""
