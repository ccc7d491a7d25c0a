"""One reward model, whoever scores with it: the same numbers, and a refusal by those who would read it otherwise."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from ama_models import write_lines
from llm.averaging.ama.samples import draw_samples
from llm.data.microcosm.tokenizer import build_tokenizer
from llm.evaluation.hub import Judge
from llm.evaluation.tasks import Asking, Replies
from llm.models.batches import Tokens
from llm.models.chat import generate_replies
from llm.models.loading import fresh_reward_model, load_model, load_reward_model, load_tokenizer
from llm.models.rewards import batched_outputs, reward_scores, sequence_scores
from llm.models.save import save_model
from llm.models.scorers import ModelScorer
from llm.training.distributed.processes import Split, make_accelerator
from llm.training.distributed.sampling import Sample, rewards
from microcosm_runs import tiny_model
from trainer_models import hardware

PROMPTS = ["does the dog see a cat ?", "where is the little dog ?", "a cat", "the dog does not see the cat ."]
SAMPLING = {"samples": 2, "tokens": 6, "temperature": 1.0, "seed": 3, "batch": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of the smoke preset's size, and reward models on its body that read the mean and the last token."""
    path, tokenizer = tmp_path_factory.mktemp("models"), build_tokenizer()
    theta = tiny_model(tied_embeddings=False)
    theta.lm_head.weight.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    theta.lm_head.weight.data[tokenizer.eos_token_id] *= 4  # so that some of the replies end
    save_model(theta, tokenizer, path / "theta")
    for pooling in ("mean", "last"):
        torch.manual_seed(0)
        model = fresh_reward_model(path / "theta", layers=2)
        model.score.weight.data.normal_(0, 1)
        model.config.reward_pooling = pooling
        save_model(model, tokenizer, path / pooling)
    write_lines(path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    return path


@pytest.fixture(scope="module")
def samples(folder):
    """What `adapt` draws and stores, scored by the reward model that reads the mean."""
    model, tokenizer = load_model(folder / "theta"), load_tokenizer(folder / "theta")
    scorer, out = (
        ModelScorer(load_reward_model(folder / "mean"), load_tokenizer(folder / "mean"), 4),
        folder / "samples.jsonl",
    )
    draw_samples(model, tokenizer, scorer, PROMPTS, out, **SAMPLING, progress=lambda done, total: None)
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture(scope="module")
def stages(folder, samples):
    """The samples' scores as the stages of the microcosm give them."""
    replies = [(row["prompt"], row["reply"], row["finished"]) for row in samples]
    model, tokenizer = load_reward_model(folder / "mean"), load_tokenizer(folder / "mean")
    return reward_scores(model, tokenizer, replies, batch_size=3).tolist()


def test_adapt_stores_the_scores_of_the_stages(samples, stages):
    assert [row["reward"] for row in samples] == pytest.approx(stages, abs=1e-5)
    assert np.std(stages) > 0.1
    assert {row["finished"] for row in samples} == {True, False} and any(
        len(row["reply"].split()) > 1 for row in samples
    )


def test_the_paper_s_models_are_judged_by_the_scores_of_the_stages(folder, samples, stages):
    preset = SimpleNamespace(hardware=SimpleNamespace(device="cpu", dtype="fp32"), evaluate=SimpleNamespace(batch=3))
    replies = [(row["reply"], row["finished"]) for row in samples]
    assert Judge(preset, folder / "mean")([row["prompt"] for row in samples], replies).tolist() == stages


def test_the_trainers_give_the_scores_of_the_stages(folder, samples, stages):
    tokenizer = load_tokenizer(folder / "mean")
    asked = [Sample(i, *_ids(tokenizer, row), row["finished"], row["reply"]) for i, row in enumerate(samples)]
    accelerator = make_accelerator(hardware(), Split(1, 1))
    found = rewards(accelerator, folder / "mean", asked, hardware(generation_batch=3))
    assert found == pytest.approx(stages, abs=1e-5)


def _ids(tokenizer, row):
    prompt = f"<bos><user> {row['prompt']} <assistant>"
    return tuple(tokenizer.encode(text, add_special_tokens=False) for text in (prompt, row["reply"]))


def test_front_gives_the_scores_of_the_stages_by_mean_or_last_token(folder):
    asking = Asking(True, tokens=6, batch=4, temperature=1.0, seed=5)
    model, tokenizer = load_model(folder / "theta"), load_tokenizer(folder / "theta")
    rng, settings = torch.Generator().manual_seed(5), {"max_new_tokens": 6, "temperature": 1.0, "batch_size": 4}
    replies = generate_replies(model, tokenizer, PROMPTS, rng=rng, skip_special_tokens=True, **settings)
    triples = [(prompt, *reply) for prompt, reply in zip(PROMPTS, replies, strict=True)]
    found = {}
    for name in ("mean", "last"):
        scorer = ModelScorer.load(folder / name, torch.device("cpu"), "auto", 4)
        found[name] = Replies(scorer, PROMPTS, asking).measure(model, tokenizer)["reward"].items
        stages = reward_scores(load_reward_model(folder / name), tokenizer, triples, batch_size=4)
        assert found[name].tolist() == stages.tolist()
    assert abs(found["mean"] - found["last"]).max() > 0.1


def test_models_of_others_read_all_that_the_template_writes_after_a_reply_and_ours_its_end(folder):
    tokenizer, triples = load_tokenizer(folder / "last"), [(PROMPTS[0], "a cat", True), (PROMPTS[1], "a dog", False)]
    tokenizer.chat_template = tokenizer.chat_template + "{% if not add_generation_prompt %}{{ ' .' }}{% endif %}"
    for reads, after in (("replies", ""), (None, " .")):
        model = load_reward_model(folder / "last")
        if reads:
            model.config.reward_reads = reads
        else:
            del model.config.reward_pooling  # which ours have said since they could
        texts = [tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
                 + f" {reply}" + f"{tokenizer.eos_token}{after}" * finished for prompt, reply, finished in triples]  # fmt: skip
        ids = [tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids for text in texts]
        with torch.no_grad():
            expected = [model(input_ids=one).logits.item() for one in ids]
        assert ModelScorer(model, tokenizer, 4)(triples) == pytest.approx(expected, abs=1e-5)


def test_transformers_own_class_refuses_what_it_would_read_otherwise(folder):
    with pytest.raises(ValueError, match="model type `mean-pooled-llama`"):
        AutoModelForSequenceClassification.from_pretrained(folder / "mean")
    model = AutoModelForSequenceClassification.from_pretrained(folder / "last")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert sequence_scores(model, [Tokens([5, 6], [7, 8])], 0).item() == pytest.approx(model(ids).logits.item())


def test_a_folder_that_only_says_how_it_reads_is_read_so_too_and_saved_with_the_new_type(folder, tmp_path):
    model, tokenizer = load_reward_model(folder / "mean"), load_tokenizer(folder / "mean")
    save_model(model, tokenizer, tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    assert (config["model_type"], config["reward_pooling"]) == ("mean-pooled-llama", "mean")
    (tmp_path / "old" / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    replies = [(prompt, "the dog .", True) for prompt in PROMPTS]
    old, new = (
        reward_scores(load_reward_model(path), tokenizer, replies, 2).tolist()
        for path in (tmp_path / "old", folder / "mean")
    )
    assert old == new


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_models_with_absolute_positions_score_a_batch_as_each_reply_alone(kind):
    """GPT-2 reads the last token, BERT the first."""
    sizes = {
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
        "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    }
    kinds = {"gpt2": transformers.GPT2Config, "bert": transformers.BertConfig}
    config = kinds[kind](vocab_size=50, num_labels=1, pad_token_id=0, initializer_range=0.5, **sizes[kind])
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    rng = np.random.default_rng(0)
    replies = [Tokens(*(rng.integers(1, 50, size).tolist() for size in sizes)) for sizes in ((2, 9), (5, 1), (1, 3))]
    with torch.no_grad():
        alone = [model(torch.tensor([context + reply])).logits.item() for context, reply in replies]
    assert batched_outputs(model, replies, 0, batch_size=3)[:, 0].tolist() == pytest.approx(alone, abs=1e-5)
    assert np.std(alone) > 1e-3
