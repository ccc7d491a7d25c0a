"""The parts of PPO (Schulman et al., arXiv 1707.06347): samples, critic, advantages, losses, signs of a collapse."""
