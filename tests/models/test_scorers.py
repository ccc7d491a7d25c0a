"""Scorers that people have: pair encoders, LoRA reward adapters, programs; and tokenizers without an end."""

import sys

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from ama_models import TEMPLATE, save_models, write_lines
from averaging_models import save_tokenizer
from llm.data.formats import read_prompts
from llm.data.records import Turn
from llm.errors import UserError
from llm.models.chat import encode_together, end_id
from llm.models.loading import load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores
from llm.models.scorers import CommandScorer, ModelScorer

TRIPLES = [("w40 w41", "w50", True), ("w42", "w51 w52 w53 w54", False), ("w43 w44 w45", "w55", True)]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A BERT that scores pairs of texts, with a tokenizer that puts [CLS] (w5) and [SEP] (w6) around them and has no eos."""
    folder = tmp_path_factory.mktemp("encoder")
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=1,
        max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder, template=None)
    from tokenizers.processors import TemplateProcessing

    fast = load_tokenizer(folder)
    pairs = {"single": "w5 $A w6", "pair": "w5 $A w6 $B:1 w6:1", "special_tokens": [("w5", 5), ("w6", 6)]}
    fast.backend_tokenizer.post_processor = TemplateProcessing(**pairs)
    kinds = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"], "pad_token": "w2"}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=fast.backend_tokenizer, **kinds)
    made.save_pretrained(folder)
    return folder


def test_an_encoder_without_a_chat_format_gets_pairs_of_texts(encoder):
    scorer = ModelScorer.load(encoder, CPU, "float32", 2)
    assert scorer.reads_pairs
    found = scorer(TRIPLES)
    for (prompt, reply, _), score in zip(TRIPLES, found, strict=True):
        first, second = ([int(word[1:]) for word in text.split()] for text in (prompt, reply))
        ids = torch.tensor([[5, *first, 6, *second, 6]])
        kinds = torch.tensor([[0] * (len(first) + 2) + [1] * (len(second) + 1)])
        with torch.no_grad():
            assert scorer.model(input_ids=ids, token_type_ids=kinds).logits.item() == pytest.approx(score, abs=1e-5)
    turns = (Turn("user", "w40"), Turn("assistant", "w41"), Turn("user", "w42"))
    assert scorer([(turns, "w50", True)]) == pytest.approx(scorer([("w40\nw41\nw42", "w50", True)]))
    long = scorer([("w40 " * 100, "w50", True)])
    assert torch.isfinite(torch.tensor(long)).all()


def test_a_pair_encoder_without_a_padding_token_scores_alike(encoder):
    scorer, tokenizer = ModelScorer.load(encoder, CPU, "float32", 3), load_tokenizer(encoder)
    tokenizer.pad_token = None
    assert ModelScorer(scorer.model, tokenizer, 3)(TRIPLES) == pytest.approx(scorer(TRIPLES), abs=1e-6)


def test_a_reward_model_without_a_padding_token_reads_the_end_token(tmp_path):
    """Which is the tokenizer's only candidate for padding: a finished reply is another one than one that was cut off."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.LlamaConfig(vocab_size=64, num_labels=1, eos_token_id=1, pad_token_id=None, **sizes)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, template=TEMPLATE)
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    scorer = ModelScorer.load(tmp_path, CPU, "float32", 3)
    done, cut = scorer([("w40", "w41 w42", True), ("w40", "w41 w42", False)])
    assert done != pytest.approx(cut, abs=1e-7)
    ((context, reply),) = encode_together(tokenizer, [("w40", "w41 w42", True)])
    with torch.no_grad():
        alone = model(torch.tensor([context + reply])).logits[0, 0].item()
    assert done == pytest.approx(alone, abs=1e-5) and end_id(tokenizer) == reply[-1]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "pairs"])
def test_what_goes_beyond_the_reward_models_context_is_refused(kind, encoder, tmp_path):
    """Before anything is measured: a prompt with room for no reply of so many tokens."""
    sizes = {"vocab_size": 64, "num_labels": 1, "pad_token_id": 2}
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=16, **sizes)
    else:
        sizes |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.LlamaConfig(max_position_embeddings=16, **sizes)
    scorer, room = ModelScorer.load(encoder, CPU, "float32", 2), 32 - 3  # [CLS] and twice [SEP]
    if kind != "pairs":
        transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
        save_tokenizer(tmp_path, template="{{ messages[0]['content'] }}")
        scorer, room = ModelScorer.load(tmp_path, CPU, "float32", 2), 16
    fits, long = "w40 " * (room - 5), "w40 " * (room - 4)
    scorer.check(["w40", fits], 5)
    with pytest.raises(
        UserError, match=r"prompt 2 with its longest reply, as the reward model reads them, = \d+ tokens"
    ):
        scorer.check(["w40", long], 5)
    if kind != "pairs":  # which are cut as they are in training
        with pytest.raises(UserError, match="a prompt with its reply, as the reward model reads them, = 17 tokens"):
            scorer([(long, "w41 w41 w41 w41 w41", False)])


def test_a_tokenizer_without_an_end_token_is_named(encoder):
    tokenizer = load_tokenizer(encoder)
    for use in (lambda: end_id(tokenizer), lambda: encode_together(tokenizer, TRIPLES)):
        with pytest.raises(UserError, match="has no end token: its chat template ends a reply with no special token"):
            use()


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """(folder of a LoRA reward adapter, its wrapped model) on theta_0 of a pair."""
    folder = tmp_path_factory.mktemp("adapted")
    save_models(folder)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "theta_0", num_labels=1)
    assert base.config.pad_token_id != 1  # else transformers would take the end token for padding
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    wrapped = get_peft_model(base, config).eval()
    torch.nn.init.normal_(wrapped.base_model.model.score.modules_to_save["default"].weight)
    wrapped.save_pretrained(folder / "adapter")
    save_tokenizer(folder / "adapter", template=TEMPLATE)
    return folder / "adapter", wrapped


def test_a_reward_adapter_scores_as_the_wrapped_model_does(adapted):
    folder, wrapped = adapted
    expected = reward_scores(wrapped.base_model.model, load_tokenizer(folder), TRIPLES, 2, encode_together)
    assert ModelScorer.load(folder, CPU, "float32", 2)(TRIPLES) == pytest.approx(expected.numpy(), abs=1e-5)
    assert abs(expected - expected.mean()).max() > 0.01


def test_a_reward_adapter_is_one_with_its_bases_config_beside_it_too(adapted, tmp_path):
    import shutil

    folder, _ = adapted
    shutil.copytree(folder, tmp_path / "adapter")
    shutil.copy(folder.parent / "theta_0" / "config.json", tmp_path / "adapter")
    found, expected = load_reward_model(tmp_path / "adapter"), load_reward_model(folder)
    assert torch.equal(found.score.weight, expected.score.weight)


def test_an_adapter_without_a_head_or_a_base_is_refused(adapted, tmp_path):
    import json
    import shutil

    for change, said in (
        ({"task_type": "CAUSAL_LM"}, "an adapter without a head of one output"),
        ({"base_model_name_or_path": "org/gone"}, "`hf download org/gone` puts it there"),
    ):
        shutil.copytree(adapted[0], tmp_path / "changed", dirs_exist_ok=True)
        file = tmp_path / "changed" / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(UserError, match=said):
            load_reward_model(tmp_path / "changed")


def test_a_program_scores_lines_of_json(tmp_path):
    (tmp_path / "score.py").write_text(
        "import json, sys\nfor line in sys.stdin:\n    row = json.loads(line)\n"
        "    turns = row['prompt'] if isinstance(row['prompt'], list) else [{'content': row['prompt']}]\n"
        "    print(len(turns) + len(row['reply']) / 100 + row['finished'] / 10)\n"
    )
    scorer = CommandScorer(f"{sys.executable} {tmp_path / 'score.py'}")
    turns = (Turn("system", "w40"), Turn("user", "w41"))
    assert scorer([("w40", "abc", True), (turns, "a\nb", False)]) == pytest.approx([1.13, 2.03])


def test_a_command_that_is_none_and_a_score_that_is_no_number_are_named(tmp_path):
    for command, said in (
        ("", "= '' is not allowed; allowed is a program"),
        ("'", "is no command .No closing quotation"),
    ):
        with pytest.raises(UserError, match=said):
            CommandScorer(command)
    (tmp_path / "score.py").write_text("print(1)\nprint('nan')\nprint(3)\n")
    with pytest.raises(
        UserError, match="which printed nan for reply 2 of 3 replies; allowed is one finite number a line"
    ):
        CommandScorer(f"{sys.executable} {tmp_path / 'score.py'}")(TRIPLES)


PROMPTS = {
    '{"prompt": "a"}': "a",
    '{"prompt": [{"role": "user", "content": "a"}]}': "a",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}': "a",
    '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]}': (
        Turn("system", "s"),
        Turn("user", "a"),
    ),
    '{"instruction": "a", "input": "b"}': "a\n\nb",
    '{"instruction": "a", "input": ""}': "a",
    '\ufeff{"prompt": "a"}': "a",
}


@pytest.mark.parametrize("line", PROMPTS)
def test_prompts_are_read_in_the_forms_people_have(line, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(line + "\n")
    assert read_prompts(tmp_path / "prompts.jsonl") == [PROMPTS[line]]


def test_prompts_may_be_lines_of_text(tmp_path):
    (tmp_path / "prompts.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo words\n")
    assert read_prompts(tmp_path / "prompts.txt") == ["one", "two words"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="--prompts .*empty.txt holds no lines; allowed is a prompt a line"):
        read_prompts(tmp_path / "empty.txt")


BAD = {
    "another key": ({"text": "a"}, "has 'text' and no prompt; allowed is .*instruction"),
    "a number": ({"prompt": 1}, "prompt = 1 is not allowed; allowed is a text"),
    "no messages": ({"messages": []}, "messages = .* is not allowed; allowed is a list of messages"),
    "another role": ({"messages": [{"role": "tool", "content": "a"}]}, "allowed roles are system, user, assistant"),
    "only a reply": ({"messages": [{"role": "assistant", "content": "a"}]}, "has no turn of the user to reply to"),
    "system alone": ({"prompt": [{"role": "system", "content": "a"}]}, "has no turn of the user to reply to"),
    "no content": ({"prompt": [{"role": "user"}]}, "content = None"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_prompts_are_refused_naming_the_line(case, tmp_path):
    row, said = BAD[case]
    with pytest.raises(UserError, match=f"--prompts .*line 1.*{said}") as refused:
        read_prompts(write_lines(tmp_path / "prompts.jsonl", [row]))
    assert str(refused.value).endswith(("}.", "}]."))
