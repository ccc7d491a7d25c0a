"""Models that are there before anything is trained: from the hub, from a folder, or, for tests, of random weights."""

from pathlib import Path

from ...config import HubPreset, PublicModel
from ...config.hub import RANDOM
from ...data.hub.templates import set_template
from ...errors import UserError
from ...fetch.catalogue import resolve_model
from ...models.loading import load_tokenizer
from ...models.save import link_folder, save_model
from ...run import Run
from ...training.distributed.models import Head

_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*")


def take(run: Run[HubPreset], name: str, folder: Path, head: Head = "causal") -> None:
    """Make `folder` hold the named model, its weights by hard links, with the preset's chat template.

    A reward model keeps its own template, with which it was trained.
    Raises UserError for a model that is neither here nor on the hub, or is of other sizes than the preset says.
    """
    if name == RANDOM:
        _make_random(run, folder, head)
        return
    source = resolve_model(name, run.out)
    if head == "reward":
        link_folder(source, folder)
        return
    check_sizes(run.preset, name, source)
    tokenizer = templated_tokenizer(source, run.preset.template)

    def with_template(aside: Path) -> None:
        for pattern in _TOKENIZER:
            for file in aside.glob(pattern):  # a link to the original, which must not be written into
                file.unlink()
        tokenizer.save_pretrained(aside)

    link_folder(source, folder, with_template)


def templated_tokenizer(source: Path, template: str):
    """With padding of its own where it can: a reward model reads the last token that is none, and should see how a reply ended."""
    tokenizer = load_tokenizer(source)
    set_template(tokenizer, template)
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def check_sizes(preset: HubPreset, name: str, source: Path) -> None:
    """UserError unless the folder's config.json has the sizes that the preset says."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source)
    expected = settings(preset.model)
    for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "tie_word_embeddings"):
        if getattr(config, key) != expected[key]:
            raise UserError(
                f"model = {name!r} has {key} = {getattr(config, key)}, but preset = {preset.name} says {expected[key]}; "
                "give the preset the model's sizes, by which runs are planned"
            )


def settings(shape: PublicModel) -> dict:
    """The sizes as transformers calls them."""
    return {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": shape.tied_embeddings,
    }


def _make_random(run: Run[HubPreset], folder: Path, head: Head) -> None:
    """The architecture and sizes of the preset, with weights that the run's seed and the folder's name draw."""
    preset, tokenizer = run.preset, byte_tokenizer(run.preset.template)
    if len(tokenizer) != preset.model.vocabulary:
        raise UserError(
            f"model.vocabulary = {preset.model.vocabulary} is not allowed with random weights; allowed is {len(tokenizer)}"
        )
    seed = int(run.rng("random", folder.name).integers(2**62))
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_model(random_model(preset.model, preset.architecture, tokenizer, seed, head), tokenizer, folder)


def random_model(sizes: PublicModel, architecture: str, tokenizer, seed: int, head: Head = "causal"):
    """A model in fp32 of these sizes, with weights that the seed draws."""
    import torch
    import transformers

    special = {f"{key}_token_id": getattr(tokenizer, f"{key}_token_id") for key in ("pad", "bos", "eos")}
    config = getattr(transformers, architecture).config_class(**settings(sizes), **special, num_labels=1)
    kinds = {"causal": transformers.AutoModelForCausalLM, "reward": transformers.AutoModelForSequenceClassification}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kinds[head].from_config(config)


def byte_tokenizer(template: str):
    """A token a byte, and the marks of the templates."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "padding_side": "left"}
    made = PreTrainedTokenizerFast(tokenizer_object=core, **marks, clean_up_tokenization_spaces=False)
    set_template(made, template)
    return made
