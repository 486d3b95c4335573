"""The memory service: memories written and searched through an API, two tiers and a PostgreSQL pair."""
