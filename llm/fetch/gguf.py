"""A GGUF file turned into an ordinary Hugging Face model folder.

transformers reads the tokenizer of a GGUF file too, but without the step that cuts numbers into digits, so that
`\\n\\n12` got other ids than the model was trained on.
"""

from pathlib import Path

from ..errors import UserError

CONTROL = 3  # the GGUF token type of <|im_start|> and its like


def convert(gguf: Path, folder: Path) -> None:
    """Write config, fp32 weights (safetensors) and tokenizer of a GGUF file into `folder`; 135M weights take 1.6 GB of memory.

    The weights are what the quantised numbers stand for, exactly, so the model is as good as the file, not as the model that
    was quantised. transformers refuses to save what it has read from GGUF, so they go into a model made afresh.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from ..models.loading import REPORTED, whole

    tokenizer = read_tokenizer(gguf)
    load = AutoModelForCausalLM.from_pretrained
    read = whole(load(gguf.parent, gguf_file=gguf.name, dtype=torch.float32, **REPORTED), gguf, "gguf")
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    settings |= {f"{token}_token_id": getattr(tokenizer, f"{token}_token_id") for token in ("bos", "eos", "pad")}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_tokenizer(gguf: Path):
    """A `PreTrainedTokenizerFast` with the file's vocabulary, merges, special tokens and chat template.

    Padding is the unknown token, which a byte-level vocabulary never needs, and not the end token as the file has it: a
    reward model looks at the last token that is no padding, and should see whether the reply ended.

    Raises UserError for a vocabulary that is not byte-level BPE or is cut in a way that is not known here.
    """
    from gguf import GGUFReader
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields

    def field(name: str):
        return fields[f"tokenizer.{name}"].contents()

    tokens = field("ggml.tokens")
    core = _byte_level_bpe(tokens, field("ggml.merges"), _cutters(field("ggml.model"), field("ggml.pre")))
    core.add_special_tokens([t for t, kind in zip(tokens, field("ggml.token_type"), strict=True) if kind == CONTROL])
    unknown = tokens[field("ggml.unknown_token_id")]
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=tokens[field("ggml.bos_token_id")],
        eos_token=tokens[field("ggml.eos_token_id")],
        unk_token=unknown,
        pad_token=unknown,
        chat_template=field("chat_template"),
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _cutters(model: str, pre: str) -> list:
    """What a text is cut into before merges, in this order."""
    from tokenizers import pre_tokenizers

    known = {("gpt2", "smollm"): [pre_tokenizers.Digits(individual_digits=True)]}
    if (model, pre) not in known:
        raise UserError(f"tokenizer of the GGUF file = {model}/{pre} is not known; allowed is gpt2/smollm")
    return [*known[model, pre], pre_tokenizers.ByteLevel(add_prefix_space=False)]


def _byte_level_bpe(tokens: list[str], merges: list[str], cutters: list):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    core = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, pairs))
    core.pre_tokenizer = pre_tokenizers.Sequence(cutters)
    core.decoder = decoders.ByteLevel()
    return core
