"""What an objective can ask of a run, one file a measure: found by being here, see `docs/adding-a-measure.md`."""
