"""One run, from the request to a judged record."""
