"""Statistics for load and chaos runs: arrays in, frozen results out; independent of files and Locust."""
