"""What runs inside or beside a target; standard library only, because it is copied there."""
