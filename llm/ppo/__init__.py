"""The parts of PPO (Schulman et al., arXiv 1707.06347): samples, critic, advantages, losses, and signs of a collapse."""
