"""Extrapolation beyond theta, ExPO (Zheng et al., arXiv 2404.16792): theta + a (theta - theta_0), that is ratio 1 + a; their a is .3 or
.5. Linear interpolation at ratios up to 2; 0 is theta_0 and 1 theta, exactly.
"""

from dataclasses import replace

from .linear import LINEAR

EXTRAPOLATE = replace(LINEAR, most=2.0)
