"""Benchmarks of real models: lm-eval's tasks, PairRM's win rate, and outputs for AlpacaEval (paper, section 2).

`suite.Suite` measures tasks on a model that `harness` made from a folder or took from memory; `pairrm.win_rate` compares the
replies of two models, `alpaca` writes them for a judge with a key of its own. The microcosm needs none of it.
"""
