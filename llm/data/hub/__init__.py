"""The data of the paper's own models, from the Hugging Face hub or from local folders: one file a source.

`place` opens files, each source parses its rows into the records of `llm.data.records` and counts those that it leaves
out (`parsed`); `templates` writes conversations as text.
"""
