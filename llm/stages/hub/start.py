"""Models that are there before anything is trained: from the hub, from a folder, or, for tests, of random weights."""

from pathlib import Path

from ...config import HubPreset, PublicModel
from ...config.hub import RANDOM
from ...data.hub.templates import set_template
from ...errors import UserError, short
from ...fetch.catalogue import resolve_model
from ...models.folder import read_json
from ...models.loading import MEAN_POOLED, load_tokenizer
from ...models.save import link_folder, save_model
from ...run import Run
from ...training.distributed.models import Head

_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*")
_NOT_OF_REWARD = ("vocab_size", "max_position_embeddings", "tie_word_embeddings")


def take(run: Run[HubPreset], name: str, folder: Path, head: Head = "causal") -> None:
    """Make `folder` hold the named model, its weights by hard links, with the preset's chat template.

    A reward model keeps its own template, with which it was trained.
    Raises UserError for a model that is neither here nor on the hub, or is of other sizes than the preset says.
    """
    if name == RANDOM:
        _make_random(run, folder, head)
        return
    source = resolve_model(name, run.out)
    check_sizes(run.preset, name, source, head)
    if head == "reward":
        link_folder(source, folder)
        return
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


def check_sizes(preset: HubPreset, name: str, source: Path, head: Head = "causal") -> None:
    """UserError that names the first size of the folder's config.json that is not the preset's; one that the file leaves out is what
    transformers takes for it.

    Of a reward model vocabulary and context are not compared: many have tokens of their own for padding, and it is never averaged. It has no
    head that could be tied.
    """
    config, shape = _config(name, source), preset.judge if head == "reward" else preset.model
    left_out = {"num_key_value_heads": shape.heads, "head_dim": shape.hidden_size // shape.heads}
    for key, size in settings(shape).items():
        found = getattr(config, key, None)
        found = left_out.get(key, size) if found is None else found
        if found != size and not (head == "reward" and key in _NOT_OF_REWARD):
            what, section = ("reward", "reward_model") if head == "reward" else ("model", "model")
            raise UserError(
                f"{what} = {name!r} has {key} = {found}, but preset = {preset.name} says {size}; "
                f"give the preset's section {section} the sizes that the model has, by which runs are planned"
            )


def _config(name: str, source: Path):
    """transformers' settings of a folder, of a reward model that reads a mean (`llm.models.save`), too."""
    from transformers import AutoConfig

    content = read_json(source / "config.json")
    kind = str(content.get("model_type", "")).removeprefix(MEAN_POOLED)
    try:
        return type(AutoConfig.for_model(kind)).from_dict(content | {"model_type": kind}).get_text_config()
    except Exception as error:  # of unknown kinds of models, and values that do not go together
        raise UserError(
            f"model = {name!r} has a config.json with model_type = {short(kind)} that transformers cannot read ({type(error).__name__})"
        ) from None


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
