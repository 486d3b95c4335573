"""PostgreSQL and Patroni, wherever they run."""
