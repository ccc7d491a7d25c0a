"""A tokenizer made on the spot: one token a byte, and special tokens; it decodes to the very text that it was given."""

from functools import cache

CHATML = ("<|im_start|>", "<|im_end|>")


@cache
def _core(extra: tuple[str, ...], begins: bool):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    special = ("<pad>", "<s>", "</s>", *extra)
    symbols = (*special, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    core = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(symbols)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    if begins:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", special.index("<s>"))]
        )
    return core


def byte_tokenizer(extra: tuple[str, ...] = CHATML, begins: bool = True):
    """`extra` special tokens; `begins`: whether it puts <s> before a plain text, as Llama's tokenizer does."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_core(extra, begins),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(extra),
    )
