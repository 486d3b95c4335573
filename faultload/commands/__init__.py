"""One file a command: the command line parses, these do the work."""
