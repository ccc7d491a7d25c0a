"""From result rows to statements: frames, paths of models, curves, intervals, comparisons, the ledger of claims."""
