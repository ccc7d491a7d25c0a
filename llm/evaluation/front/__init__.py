"""The front between two models: measured, drawn, reported, with a recommended ratio."""
