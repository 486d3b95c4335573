"""Small programs that work in or beside a container."""
