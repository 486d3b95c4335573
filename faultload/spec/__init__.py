"""The files people write: scenario, target, experiment and journey files, read, checked and scaled."""
