"""Chat templates of the paper's models, as Jinja for `apply_chat_template`, in one place.

`{% generation %}` marks the assistant's replies, their end token included, so that a trainer can learn replies only. Every
template writes the beginning token itself, if there is one: text that it made is encoded with add_special_tokens=False.

openllama: "###Human: ...###Assistant: ..." without line breaks. The paper's code base, LMFlow, rewrites HH-RLHF's
"\\n\\nHuman" and "\\n\\nAssistant" so (LMFlow docs, examples/raft.md; model card of weqweasdas/hh_rlhf_rm_open_llama_3b, a
reward model of one of the paper's authors; README of github.com/avalonstrel/Mitigating-the-Alignment-Tax-of-RLHF, the
paper's code), and prompts end in "###Assistant:". Not certain: the layout of the paper's ShareGPT file, taken here to be the
same (LMFlow's own chat model Robin uses it, a system text standing before the first mark); and the space after the colon
of a reply, which its RSF step may lack, as that appends stripped replies. Different on purpose: the paper's texts hold no
end token, and its code cuts a reply where "###Human" follows; here each reply ends with the tokenizer's own.

zephyr: as Zephyr-7B-beta and its SFT model were trained (alignment-handbook, recipes/zephyr-7b-beta). The published
template leaves the beginning token to the tokenizer. Training put an empty system turn first where there was none
(alignment-handbook, src/alignment/data.py), and the paper's code asks with the system turn "You are a helpful, honest and
respectful chatbot." (scripts/eval_pairrm/text_generation.py); a system turn is the caller's to give.

zephyr-gemma: ChatML, as Zephyr-7B-Gemma was trained (alignment-handbook, recipes/zephyr-7b-gemma), the whole conversation
closed by the tokenizer's end token.

tulu: as Tulu 3 was trained (open-instruct, open_instruct/dataset_transformation.py; model cards of allenai/Llama-3.1-Tulu-3-8B*): only
replies end in the end token, and there is no beginning token. olmo2: the same after <|endoftext|>, which OLMo 2 has as its beginning
and end token (model cards of allenai/OLMo-2-*); a tokenizer that names no beginning token gets its end token there.

smollm2, qwen2.5: ChatML as SmolLM2-Instruct and Qwen2.5-Instruct write it, each with its own system turn first where there is none.
"""

from dataclasses import dataclass

from ...errors import UserError

OWN = "own"
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
)
_CHATML_OPENED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
_CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
_TULU = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{% if not loop.last %}{{ '\\n' }}{% endif %}"
    "{% else %}{{ message['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Template:
    """A Jinja template, and the tokens that it needs beside the tokenizer's beginning and end."""

    jinja: str
    tokens: tuple[str, ...] = ()


def _introduced(system: str) -> Template:
    """ChatML with a system turn where there is none."""
    turn = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" + system + "<|im_end|>\\n' }}{% endif %}"
    return Template(turn + _CHATML + _CHATML_OPENED + "{% endif %}", _CHATML_TOKENS)


TEMPLATES = {
    "openllama": Template(
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ '###Human: ' + message['content'] }}"
        "{% elif message['role'] == 'assistant' %}{{ '###Assistant:' }}"
        "{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}"
        "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '###Assistant:' }}{% endif %}"
    ),
    "zephyr": Template(
        "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' }}"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
        "{% else %}{{ message['content'] + eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    ),
    "zephyr-gemma": Template(
        "{{ bos_token }}" + _CHATML + _CHATML_OPENED + "{% else %}{{ eos_token }}{% endif %}", _CHATML_TOKENS
    ),
    "tulu": Template(_TULU),
    "olmo2": Template("{{ bos_token or eos_token }}" + _TULU),
    "smollm2": _introduced("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "qwen2.5": _introduced("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
}
NAMES = (*TEMPLATES, OWN)


def set_template(tokenizer, name: str) -> None:
    """Give the tokenizer the named template; `own` leaves it the one that it came with.

    An own template that leaves the beginning token to the tokenizer gets it put in front, so that all texts are encoded alike.
    Raises UserError for an unknown name, a tokenizer that lacks a token of the template, or one without a template of its own.
    """
    if name not in NAMES:
        raise UserError(f"template = {name!r} is unknown; allowed are {', '.join(NAMES)}.")
    if name == OWN:
        _complete_own(tokenizer)
        return
    known = tokenizer.get_vocab()
    for token in TEMPLATES[name].tokens:
        if token not in known:
            fits = ", ".join(other for other in TEMPLATES if all(t in known for t in TEMPLATES[other].tokens))
            raise UserError(f"template = {name!r} is not allowed, as the tokenizer lacks {token}; allowed are {fits}.")
    tokenizer.chat_template = TEMPLATES[name].jinja


def _complete_own(tokenizer) -> None:
    if not tokenizer.chat_template:
        raise UserError(
            f"template = 'own' is not allowed, as the tokenizer has none; allowed are {', '.join(TEMPLATES)}."
        )
    begins = tokenizer.bos_token_id is not None and tokenizer.encode("a")[0] == tokenizer.bos_token_id
    written = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    if begins and not written.startswith(tokenizer.bos_token):
        tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
