"""RSF, DPO and PPO: the science that every backend shares."""
