"""Launches of training on several processes: accelerate's configurations, and the command made of them."""
