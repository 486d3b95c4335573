"""What every estimate stands on: verdicts, bounds for dependent samples, distributions, checked input."""
