"""What the smaller commands do; the command line parses, and calls these."""
