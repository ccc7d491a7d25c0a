"""The microcosm: a small synthetic world with three abilities and a dialogue whose true reward is known.

`words` lists the vocabulary, `world` draws the facts and the held-out splits of one seed, `texts` says things about
it, `documents` makes the pre-training corpus, `chat` the instruction-tuning conversations and the alignment prompts,
`gold` the true reward, `items` the held-out test items and `tokenizer` the Hugging Face tokenizer.
"""
