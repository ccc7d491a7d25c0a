"""What is measured of a model, and of the curve between two models."""
