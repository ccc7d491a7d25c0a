"""RSF, DPO, reward models and PPO: the science that the microcosm's stages and the distributed trainers share."""
