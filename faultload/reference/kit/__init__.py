"""What reference systems are made of."""
