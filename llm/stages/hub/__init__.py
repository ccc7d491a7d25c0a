"""The stages for the paper's own models (`llm.config.HubPreset`): what the trainers, averaging and benchmarks are given, and where it goes.

The folders, files and rows are those of the microcosm's stages, so the same graph and the same notebooks serve both.
"""
