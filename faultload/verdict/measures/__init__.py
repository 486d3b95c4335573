"""What an objective can ask of a run, one file per measure, found automatically: see `docs/adding-a-measure.md`."""
