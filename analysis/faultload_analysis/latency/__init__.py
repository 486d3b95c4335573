"""Values in order of time: quantiles, histograms, rates, and who sent them."""
