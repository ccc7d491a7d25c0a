"""Stands in for vLLM: as much of it as this package and lm-eval's backend call, by transformers on the CPU, text by text.

Every engine that starts leaves a line in the file that FAKE_VLLM_LOG names: the model's folder and what it was given.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 16
    seed: int | None = None
    stop: list = field(default_factory=list)
    stop_token_ids: list = field(default_factory=list)
    ignore_eos: bool = False
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True


def TokensPrompt(prompt_token_ids):
    return {"prompt_token_ids": prompt_token_ids}


class LLM:
    def __init__(self, model: str, dtype: str, max_model_len: int | None = None, **given) -> None:
        with open(os.environ["FAKE_VLLM_LOG"], "a") as log:
            log.write(
                json.dumps({"model": model, "dtype": dtype, "length": max_model_len, "process": os.getpid()} | given)
                + "\n"
            )
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.longest = max_model_len or self.model.config.max_position_embeddings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=self.longest))

    @torch.no_grad()
    def generate(self, prompts, sampling_params, use_tqdm: bool = True, lora_request=None) -> list:
        return [self._answer(p["prompt_token_ids"], how) for p, how in zip(prompts, sampling_params, strict=True)]

    def _answer(self, ids: list[int], how: SamplingParams) -> SimpleNamespace:
        assert len(ids) < self.longest, "vLLM refuses a prompt without room for one token"
        rng = None if how.seed is None else torch.Generator().manual_seed(how.seed)
        known = None
        if how.prompt_logprobs:
            logs = self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
            tops = logs.argmax(dim=-1).tolist()
            pairs = zip(ids[1:], tops, logs, strict=False)
            known = [None, *({top: log[top].item(), token: log[token].item()} for token, top, log in pairs)]
        return SimpleNamespace(prompt_logprobs=known, outputs=[self._reply(ids, how, rng) for _ in range(how.n)])

    def _reply(self, ids: list[int], how: SamplingParams, rng: torch.Generator | None) -> SimpleNamespace:
        ends = [*how.stop_token_ids, *[self.tokenizer.eos_token_id] * (not how.ignore_eos)]
        made: list[int] = []
        while len(made) < min(how.max_tokens, self.longest - len(ids)):
            logits = self.model(input_ids=torch.tensor([ids + made])).logits[0, -1].double()
            chances = (logits / (how.temperature or 1)).softmax(dim=-1)
            made.append(int(torch.multinomial(chances, 1, generator=rng) if how.temperature else logits.argmax()))
            text = self.tokenizer.decode(made, skip_special_tokens=how.skip_special_tokens)
            found = [text.index(stop) for stop in how.stop if stop in text]
            if made[-1] in ends or found:
                return SimpleNamespace(token_ids=made, finish_reason="stop", text=text[: min(found, default=len(text))])
        text = self.tokenizer.decode(made, skip_special_tokens=how.skip_special_tokens)
        return SimpleNamespace(token_ids=made, finish_reason="length", text=text)


def _module(name: str, **content) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)


_module("vllm.lora")
_module("vllm.lora.request", LoRARequest=None)
_module("vllm.renderers")
_module("vllm.renderers.hf", resolve_chat_template=lambda tokenizer, **_: tokenizer.chat_template)
_module(
    "vllm.tokenizers",
    get_tokenizer=lambda name, tokenizer_mode, revision=None, **_: AutoTokenizer.from_pretrained(name),
)
