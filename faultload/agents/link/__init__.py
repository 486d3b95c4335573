"""The link proxy: every connection on a link, and the faults on it."""
