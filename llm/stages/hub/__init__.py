"""The stages for the paper's own models (`llm.config.HubPreset`), with the folders, files and rows of the microcosm's."""
