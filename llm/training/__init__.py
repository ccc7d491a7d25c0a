"""Training: the loop, mitigations, alignment algorithms, and the trainers of models that need GPUs."""
