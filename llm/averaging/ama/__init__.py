"""AMA: ratios of a given mean at which theta's best replies are likeliest (the paper, section 5)."""
