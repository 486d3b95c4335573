"""Statistics for load and chaos runs: arrays in, frozen results out; knows nothing of files or Locust."""
