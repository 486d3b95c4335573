"""Building blocks of reference systems."""
