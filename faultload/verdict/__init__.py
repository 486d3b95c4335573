"""From the record to verdict.json."""
