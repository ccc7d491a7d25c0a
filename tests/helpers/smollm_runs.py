"""A tiny run of the preset smollm2-135m, or of smollm2-135m-gpu on the processor: SmolLM2's architecture with random weights, on a made-up source."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llm.config import SmollmPreset, load_preset
from llm.config.tiny import tiny
from llm.data.records import AbilityItems, ChoiceItem
from llm.fetch.catalogue import FETCHABLE
from llm.models.save import save_model
from llm.run import Run

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LETTERS = "abcdefgh "


def tokenizer():
    """Letters and SmolLM2's marks; whatever else is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, "\n"]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=words[0]))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens(words[:3])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=words[0],
        pad_token=words[0],
        bos_token=words[1],
        eos_token=words[2],
        chat_template=TEMPLATE,
        padding_side="left",
    )


@dataclass(frozen=True)
class Opening:
    text: str


@dataclass(frozen=True)
class Letters:
    """Gold reward: the share of the letter a. Every item is a few letters."""

    seed: int

    def prompts(self, split: str, mixture: dict[str, float], count: int, rng: np.random.Generator) -> list[Opening]:
        assert set(mixture) == {"question", "opinion", "story"}
        return [Opening(self._word(rng)) for _ in range(count)]

    def written_reply(self, prompt: Opening, rng: np.random.Generator) -> str:
        raise AssertionError("theta_0 writes every reply")

    def gold_reward(self, prompt: Opening, reply: str, finished: bool) -> float:
        return reply.count("a") / max(1, len(reply))

    def items(self, split: str, counts: dict[str, int]) -> AbilityItems:
        rng = np.random.default_rng([self.seed, split == "test"])
        return AbilityItems(
            qa=[
                ChoiceItem(self._word(rng), ("a b", "c d"), int(rng.integers(2)), is_plain=True)
                for _ in range(counts["qa"])
            ],
            reading=[
                ChoiceItem(self._word(rng), ("h g", "a", "g c b"), int(rng.integers(3)))
                for _ in range(counts["reading"])
            ],
            text=[self._word(rng) for _ in range(counts["text"])],
        )

    def guesses(self, split: str, counts: dict[str, int]) -> dict[str, list[tuple[str, str]]]:
        return {"reading": [("h", item.reference) for item in self.items(split, counts).reading]}

    def _word(self, rng: np.random.Generator) -> str:
        return "".join(rng.choice(list(LETTERS), size=rng.integers(3, 9)))


class LettersPreset(SmollmPreset):
    def source(self, seed: int, out: Path) -> Letters:
        return Letters(seed)


def tiny_preset(name: str = "smollm2-135m") -> LettersPreset:
    given = tiny(load_preset(name)).model_dump()
    return LettersPreset.model_validate(given | {"model": given["model"] | {"vocabulary": len(tokenizer())}})


def fetched_folder(out: Path) -> Path:
    """Where `python -m llm fetch smollm2-135m` puts its model."""
    return out / FETCHABLE["smollm2-135m"][0].folder


def fetched_run(out: Path, seed: int = 0, name: str = "smollm2-135m") -> Run[LettersPreset]:
    """A run whose model is there as if it had been fetched."""
    from transformers import LlamaConfig, LlamaForCausalLM

    run = Run(tiny_preset(name), seed, out)
    shape = run.preset.model
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        save_model(LlamaForCausalLM(config), tokenizer(), fetched_folder(out))
    return run
