"""One build against another: ratios, baselines, change points."""
