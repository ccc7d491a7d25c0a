"""Models whose next-token probabilities are a table, written down by hand: p(next word | last word) and nothing else."""

import torch
import transformers

from ama_models import TEMPLATE
from averaging_models import save_tokenizer

WORDS = 64
NEVER = -40.0  # the logit of a word that does not come


def save_bigram(folder, table, dtype=torch.float32) -> None:
    """A Llama of 64 words; table: word -> {next word: probability}; after other words all are equally likely.

    The layers write nothing, the embeddings are unit vectors and the final norm stretches them to length 8, so that the head
    reads one row of logits a word.
    """
    config = transformers.LlamaConfig(
        vocab_size=WORDS, hidden_size=WORDS, intermediate_size=8, num_hidden_layers=3, num_attention_heads=2,
        tie_word_embeddings=False, rms_norm_eps=1e-12, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    logits = torch.zeros(WORDS, WORDS, dtype=torch.float64)
    for word, following in table.items():
        logits[word] = NEVER
        for after, probability in following.items():
            logits[word, after] = torch.tensor(probability, dtype=torch.float64).log()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(WORDS))
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.copy_(logits.T / WORDS**0.5)
    model.to(dtype).save_pretrained(folder)
    save_tokenizer(folder, template=TEMPLATE)
