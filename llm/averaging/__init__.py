"""Methods after training: averaging theta_0 and theta with one ratio, or one per part of the network.

alpha is always the share of the post-RLHF model: theta(alpha) = (1 - alpha) theta_0 + alpha theta.
"""
