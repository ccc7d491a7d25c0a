"""A model folder and what is done with one model: tensors, loading, saving, chat, generation, likelihoods, reward scores."""
