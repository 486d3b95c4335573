"""Service levels: availability, error budgets, burn-rate alerts, stopping rules."""
