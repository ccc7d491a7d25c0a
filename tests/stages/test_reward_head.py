"""The reward model's head: read in the mean over a reply, on theta_0's first layers, and fitted while they stay as they are."""

import json

import numpy as np
import pytest
import torch

from llm.config import load_preset
from llm.errors import UserError
from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.models.rewards import sequence_scores
from llm.stages.reward import _pair_ids, fit_head, load_fresh_reward_model, preferences, train_reward
from microcosm_runs import smoke, smoke_run

PENALTY = 0.05
FITTED = {"head": "fitted", "penalty": PENALTY, "layers": 2, "pooling": "mean", "epochs": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    preset = smoke().model_copy(
        update={
            "preferences": smoke().preferences.model_copy(update={"pairs": 200, "test_pairs": 100}),
            "reward": smoke().reward.model_copy(update=FITTED),
            "max_new_tokens": 24,
        }
    )
    run = smoke_run(tmp_path_factory.mktemp("out"), upto="sft", preset=preset)
    preferences(run, run.folder / "theta_0", run.folder / "preferences.json")
    return run


@pytest.fixture(scope="module")
def pairs(run):
    tokenizer = load_tokenizer(run.folder / "theta_0")
    rows = json.loads((run.folder / "preferences.json").read_text())
    return [_pair_ids(tokenizer, row) for row in rows if row["split"] == "train"]


def fresh(run, **changed):
    return load_fresh_reward_model(run.folder / "theta_0", run.preset.reward.model_copy(update=changed), seed=0)


def hidden(model, context: list[int], reply: list[int]) -> np.ndarray:
    """Last hidden states of the reply's tokens, (tokens, hidden size)."""
    with torch.no_grad():
        return (
            model.model(input_ids=torch.tensor([context + reply])).last_hidden_state[0, len(context) :].double().numpy()
        )


def features(model, pairs, pooling) -> np.ndarray:
    """(pairs, 2, hidden size), one reply after the other."""
    pool = {"mean": lambda states: states.mean(axis=0), "last": lambda states: states[-1]}[pooling]
    return np.array([[pool(hidden(model, *reply)) for reply in pair] for pair in pairs])


def test_the_reward_model_is_theta_0s_first_layers_as_they_are(run):
    model, theta_0 = fresh(run), load_model(run.folder / "theta_0")
    assert (len(model.model.layers), len(theta_0.model.layers)) == (2, 3)
    whole = theta_0.model.state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in model.model.state_dict().items())
    assert not model.score.weight.any()


def test_a_mean_reward_is_the_mean_over_the_replys_tokens_alone(run, pairs):
    model = fresh(run, head="drawn")
    replies = [reply for pair in pairs[:10] for reply in pair]
    with torch.no_grad():
        together = sequence_scores(model, replies, load_tokenizer(run.folder / "theta_0").pad_token_id).numpy()
    weights = model.score.weight[0].detach().double().numpy()
    assert together.tolist() == pytest.approx([(hidden(model, *reply) @ weights).mean() for reply in replies], abs=1e-5)
    assert together.std() > 1e-3
    assert len({len(context + reply) for context, reply in replies}) > 3


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_fitted_head_is_the_minimum_of_its_loss_and_nothing_else_changes(run, pairs, pooling):
    model, untouched = fresh(run, pooling=pooling), fresh(run, pooling=pooling)
    fit_head(model, pairs, load_tokenizer(run.folder / "theta_0").pad_token_id, PENALTY, batch_size=16)
    found = features(model, pairs, pooling)
    spread = found.reshape(-1, found.shape[-1]).std(axis=0)
    scaled = (found[:, 0] - found[:, 1]) / spread

    def loss(head):
        return np.log1p(np.exp(-scaled @ head)).mean() + PENALTY * (head**2).sum() / 2

    head = model.score.weight[0].detach().double().numpy() * spread
    rng = np.random.default_rng(0)
    for size in (0.01, 0.1):
        assert all(loss(head) < loss(head + size * rng.normal(size=len(head))) for _ in range(50))
    assert loss(head) < loss(0 * head) - 0.01
    changed = [
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, untouched.state_dict()[name])
    ]
    assert changed == ["score.weight"]


def test_the_folder_says_how_the_head_reads_and_how_many_layers_there_are(run, pairs, tmp_path):
    judged = train_reward(run, run.folder / "theta_0", run.folder / "preferences.json", tmp_path / "reward")
    loaded, tokenizer = load_reward_model(tmp_path / "reward"), load_tokenizer(tmp_path / "reward")
    assert (loaded.config.num_hidden_layers, loaded.config.reward_pooling) == (2, "mean")
    assert loaded.config.reward_reads == "replies"
    again = fresh(run)
    fit_head(again, pairs, tokenizer.pad_token_id, PENALTY, run.preset.evaluate.batch)
    with torch.no_grad():
        scores = [sequence_scores(model, list(pairs[0]), tokenizer.pad_token_id).numpy() for model in (loaded, again)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert judged["accuracy"] > 0.55


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ("{head: fitted}", "penalty = None is not allowed with head fitted; a fitted head needs one, others have none"),
        ("{penalty: 1.0}", "penalty = 1.0 is not allowed with head drawn; a fitted head needs one, others have none"),
        (
            "{epochs: 0}",
            "epochs = 0 is not allowed with head drawn; allowed are integers >= 1, and 0 with a fitted head",
        ),
        ("{layers: 4}", "reward.layers = 4 is not allowed; allowed are 1 to 3, the model's"),
    ],
)
def test_settings_that_fit_nothing_are_refused_in_one_sentence(tmp_path, changed, sentence):
    path = tmp_path / "preset.yaml"
    path.write_text(f"{{base: smoke, name: other, reward: {changed}}}")
    with pytest.raises(UserError, match=sentence):
        load_preset(str(path))
