"""This machine: its processes and the state folder."""
