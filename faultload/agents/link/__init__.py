"""The link proxy: every connection of a link, and the faults on it."""
