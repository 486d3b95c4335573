"""One file per command; the command line parses, these do the work."""
