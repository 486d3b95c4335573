"""What runs inside or beside a target: standard library only, so that it can be copied there."""
