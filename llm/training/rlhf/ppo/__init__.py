"""The parts of PPO (Schulman et al., arXiv 1707.06347): its objective, what it learns from, restarts after a collapse."""
