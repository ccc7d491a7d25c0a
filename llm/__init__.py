"""Language models trained, aligned and averaged: the experiments of the paper."""
