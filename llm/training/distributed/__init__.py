"""Training of models that need GPUs, by one loop on one process or many.

Each trainer is a function of settings, a `Start` (which weights to begin with), records and an output folder. It runs in every
process of a launch (`llm.training.distributed.launch`), or alone in this one, and does the same work however many processes
share it: batches in the settings are global.
"""
