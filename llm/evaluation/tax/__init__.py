"""The alignment tax of two models: what theta_0 can do that theta cannot, what replies became, and what moved."""
