"""PPO as a stage: the gradient, the samples, a restart after a collapse, and a run that goes on where it stopped."""

import json
import shutil
from itertools import count, product

import pytest
import torch

from llm.data.microcosm.tokenizer import build_tokenizer
from llm.models.chat import imitation_batch, reply_ids
from llm.models.likelihood import token_log_probs
from llm.models.loading import load_model, load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores
from llm.models.save import save_model
from llm.run import Run
from llm.stages import ppo as module
from llm.stages.align import align
from llm.stages.rsf import sample
from llm.training import iterations
from llm.training.rlhf.ppo import restarts
from llm.training.rlhf.ppo.experience import experience, fresh_critic
from microcosm_runs import contents, smoke, smoke_run, tiny_model

REPLIES = [
    ("how are you ?", "what a lovely day", True),
    ("is it red ?", "red", True),
    ("tell me", "the sky is red red blue", False),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return smoke_run(tmp_path_factory.mktemp("out"), upto="reward")


def changed(run: Run, **settings) -> Run:
    return Run(run.preset.model_copy(update={"ppo": run.preset.ppo.model_copy(update=settings)}), run.seed, run.out)


def quick(run: Run, **settings) -> Run:
    """One step of each update, for tests of what comes after what."""
    return changed(run, prompts=4, epochs=1, **settings)


def ppo(run: Run, out, lr=None):
    module.ppo(run, run.folder / "theta_0", run.folder / "reward", out, lr)
    return [json.loads(path.read_text()) for path in sorted(out.glob("iteration*.json"))]


@pytest.fixture
def collected(run):
    """(policy, experience) of three replies with scores 2, -1 and 0.5."""
    actor, tokenizer = tiny_model(seed=3), build_tokenizer()
    critic, theta_0 = fresh_critic(run.folder / "reward", 0.0), tiny_model(seed=4)
    batch, scores = imitation_batch(tokenizer, REPLIES), torch.tensor([2.0, -1.0, 0.5])
    return actor, experience(actor, critic, theta_0, batch, scores, smoke().ppo, 2)


def test_the_first_gradient_is_that_of_reinforce(collected):
    """d/dtheta of -mean over the tokens of A log pi, by the whole model's logits, token by token."""
    actor, seen = collected
    part = seen.rows([0, 2])
    part.policy_loss(token_log_probs(actor, part.batch), smoke().ppo).backward()
    found = {name: p.grad.clone() for name, p in actor.named_parameters()}
    actor.zero_grad()
    terms = []
    for row in (0, 2):
        length = int(seen.batch.mask[row].sum())
        logs = torch.log_softmax(actor(seen.batch.ids[row : row + 1, :length]).logits[0], dim=-1)
        for t in range(1, length):
            if seen.batch.weights[row, t] > 0:
                terms.append(seen.advantages[row, t - 1] * logs[t - 1, seen.batch.ids[row, t]])
    assert len(terms) == 5 + 6  # words, and the end of the one that has one
    (-sum(terms) / len(terms)).backward()
    scale = max(p.grad.abs().max() for p in actor.parameters()).item()
    assert scale > 1e-3
    for name, p in actor.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=1e-5 * scale)


def test_returns_add_up_to_the_score_less_the_kl_penalty(run, collected):
    """gamma = lam = 1: the return of the first token is the score less eta times the reply's log ratio."""
    actor, _ = collected
    settings = smoke().ppo.model_copy(update={"gamma": 1.0, "gae_lambda": 1.0, "eta": 0.3})
    batch, scores = imitation_batch(build_tokenizer(), REPLIES), torch.tensor([2.0, -1.0, 0.5])
    seen = experience(actor, fresh_critic(run.folder / "reward", 0.0), tiny_model(seed=4), batch, scores, settings, 3)
    first = seen.mask.argmax(dim=1)
    ratio = (seen.log_probs - seen.reference).sum(dim=1)
    assert ratio.abs().min() > 0.1
    torch.testing.assert_close(seen.returns[torch.arange(3), first], scores - 0.3 * ratio, rtol=1e-4, atol=1e-4)


def test_some_replies_are_cut_to_the_longest_of_them(collected):
    _, seen = collected
    part = seen.rows([2, 1])
    length = int(seen.batch.mask[1:].sum(dim=1).max())
    assert part.batch.ids.shape == (2, length) and part.log_probs.shape == (2, length - 1)
    assert length < seen.batch.ids.shape[1]
    torch.testing.assert_close(part.advantages[1], seen.advantages[1, : length - 1])
    torch.testing.assert_close(part.returns[0], seen.returns[2, : length - 1])
    assert part.mask.sum() == seen.mask[1:].sum()


def test_replies_survive_the_way_through_text():
    """So the tokens that are judged and improved are those that were sampled."""
    tokenizer = build_tokenizer()
    ids = list(range(len(tokenizer)))
    assert tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False) == ids


def test_an_iteration_logs_what_the_model_before_it_wrote(run, tmp_path):
    logs = ppo(changed(run, iterations=2), tmp_path / "ppo")
    model, tokenizer = load_model(tmp_path / "ppo" / "iteration01"), load_tokenizer(run.folder / "theta_0")
    prompts = run.source.prompts("train", run.preset.prompts, run.preset.ppo.prompts, run.rng("ppo", 2, 0))
    replies = sample(run, model, tokenizer, prompts, 1, 1.0, ("ppo", 2, 0))
    scores = reward_scores(load_reward_model(run.folder / "reward"), tokenizer, replies, 100)
    gold = [
        run.source.gold_reward(prompt, reply, done) for prompt, (_, reply, done) in zip(prompts, replies, strict=True)
    ]
    assert logs[1]["reward"] == pytest.approx(scores.mean().item(), abs=1e-5)
    assert logs[1]["gold_reward"] == pytest.approx(sum(gold) / len(gold))
    assert logs[1]["unfinished"] == sum(not done for _, _, done in replies) / len(replies)
    batch, theta_0 = imitation_batch(tokenizer, replies), load_model(run.folder / "theta_0")
    assert logs[1]["length"] == pytest.approx((batch.weights > 0).sum().item() / len(replies))
    with torch.no_grad():
        kl = (token_log_probs(model, batch) - token_log_probs(theta_0, batch)).sum().item() / len(replies)
    assert logs[1]["kl"] == pytest.approx(kl, abs=1e-4)
    assert logs[0]["kl"] == 0
    assert [log["fresh_critic"] for log in logs] == [True, False]


def test_a_reward_is_learned(run, tmp_path, monkeypatch):
    """A reward that is easy to find: the share of the reply's tokens that stand in the vocabulary's first half."""

    def share(_, tokenizer, replies, __):
        ids = [torch.tensor(reply_ids(tokenizer, reply, done)) for _, reply, done in replies]
        return torch.stack([(said < len(tokenizer) / 2).float().mean() for said in ids])

    monkeypatch.setattr(module, "reward_scores", share)
    save_model(tiny_model(scale=5), build_tokenizer(), tmp_path / "theta_0")  # with habits, but open to others
    other = changed(run, iterations=4, prompts=32, batch=16, baseline=0.5, eta=0.0)
    module.ppo(other, tmp_path / "theta_0", run.folder / "reward", tmp_path / "ppo", 1e-2)
    rewards = [json.loads(path.read_text())["reward"] for path in sorted((tmp_path / "ppo").glob("*.json"))]
    assert 0.6 < rewards[0] < 0.85
    assert rewards[3] > rewards[0] + 0.1


def test_the_baseline_is_the_mean_reward_of_theta_0_or_the_number_given(run):
    found = module._baseline(run, run.folder / "theta_0", run.folder / "reward")
    tokenizer = load_tokenizer(run.folder / "theta_0")
    prompts = run.source.prompts("train", run.preset.prompts, run.preset.ppo.prompts, run.rng("ppo", "baseline"))
    replies = sample(run, load_model(run.folder / "theta_0"), tokenizer, prompts, 1, 1.0, ("ppo", "baseline"))
    scores = reward_scores(load_reward_model(run.folder / "reward"), tokenizer, replies, 100)
    assert found == pytest.approx(scores.mean().item(), abs=1e-6)
    assert module._baseline(changed(run, baseline=5.5625), run.folder / "theta_0", run.folder / "reward") == 5.5625


@pytest.fixture
def collapsing(run, monkeypatch):
    """A run of five iterations of which the fourth looks like a collapse until there was a restart."""
    monkeypatch.setattr(
        restarts, "collapse", lambda logs, _: "made up" if len(logs) == 4 and not logs[-1]["restarts"] else None
    )
    return quick(run, iterations=5)


def test_after_a_collapse_training_goes_back_and_the_critic_learns_alone_first(collapsing, tmp_path, monkeypatch):
    made = []
    real = module._iterate
    monkeypatch.setattr(
        module, "_iterate", lambda inputs, i, restarts: made.append((i, restarts)) or real(inputs, i, restarts)
    )
    logs = ppo(collapsing, tmp_path / "ppo")
    assert made == [(1, 0), (2, 0), (3, 0), (4, 0), (2, 1), (3, 1), (4, 1), (5, 1)]
    assert [(log["iteration"], log["restarts"], log["fresh_critic"], log["policy_loss"] is None) for log in logs] == [
        (1, 0, True, False),
        (2, 1, True, True),
        (3, 1, False, False),
        (4, 1, False, False),
        (5, 1, False, False),
    ]
    weights = [(tmp_path / "ppo" / f"iteration0{i}" / "model.safetensors").read_bytes() for i in range(1, 6)]
    assert weights[0] == weights[1]
    assert len(set(weights)) == 4
    ppo(collapsing, tmp_path / "ppo")
    assert len(made) == 8


def test_there_is_a_limit_to_the_restarts(run, tmp_path, monkeypatch):
    monkeypatch.setattr(restarts, "collapse", lambda logs, _: "made up")
    collapse = run.preset.ppo.collapse.model_copy(update={"restarts": 2})
    logs = ppo(quick(run, iterations=2, collapse=collapse), tmp_path / "ppo")
    assert [(log["restarts"], log["collapse"]) for log in logs] == [(2, "made up")] * 2


def test_a_run_stopped_anywhere_ends_with_the_bytes_of_an_undisturbed_one(run, tmp_path, monkeypatch):
    """Before or after a model is written: of the collapsed iteration, and of those that a restart makes again."""
    monkeypatch.setattr(
        restarts, "collapse", lambda logs, _: "made up" if len(logs) == 3 and not logs[-1]["restarts"] else None
    )
    collapsing = quick(run, collapse=run.preset.ppo.collapse.model_copy(update={"back": 2}))
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_model", keeping(tmp_path / "undisturbed", tmp_path))
        ppo(collapsing, tmp_path / "undisturbed")  # iterations 1, 2, 3, and 2, 3 again
    expected = contents(tmp_path / "undisturbed")
    assert len([path for path in expected if path.name == "model.safetensors"]) == 3
    for stop, late in product((3, 4, 5), (False, True)):
        out = tmp_path / f"{stop}-{late}"
        assert (models(out) == models(tmp_path / "undisturbed")) == (stop == 5 and late)
        assert contents(out) != expected  # there is always something left to do, if only to forget
        ppo(collapsing, out)
        assert contents(out) == expected, (stop, late)


def keeping(out, to):
    """`save_model` that copies what a run has written, as a kill would leave it, before and after its first, second, ... call."""
    calls = count(1)

    def save(*arguments):
        call = next(calls)
        for late in (False, True):
            if late:
                save_model(*arguments)
            shutil.copytree(out, to / f"{call}-{late}")

    return save


def models(out):
    return [path.read_bytes() for path in sorted(out.glob("iteration*/model.safetensors"))]


@pytest.mark.parametrize(
    ("back", "restarts", "kept"),
    [(3, 0, [6]), (3, 1, [4, 5, 6]), (2, 2, [4, 5, 6]), (1, 2, [6]), (4, 2, [1, 2, 3, 4, 5, 6])],
)
def test_only_what_training_may_start_again_from_is_kept(run, tmp_path, monkeypatch, back, restarts, kept):
    """The next is 7: a collapse of it goes back to the model of 7 - back, one of what is started then back - 1 further."""
    monkeypatch.setattr(module, "_iterate", written)
    collapse = run.preset.ppo.collapse.model_copy(update={"back": back, "restarts": restarts})
    ppo(changed(run, iterations=6, collapse=collapse), tmp_path / "ppo")
    assert [int(path.stem[-2:]) for path in sorted((tmp_path / "ppo").glob("training*"))] == kept


def written(inputs, iteration, restarts):
    """The files of an iteration, with nothing in them but the numbers by which training goes on."""
    numbers = dict.fromkeys(("reward", "length", "unfinished", "critic_loss"), 0.0) | {"restarts": restarts}
    folder = iterations.iteration_folder(inputs.out, iteration)
    folder.mkdir(parents=True)
    iterations.log_file(inputs.out, iteration).write_text(
        json.dumps(numbers | {"collapse": None, "fresh_critic": False})
    )
    iterations.training_file(inputs.out, iteration).touch()
    (folder / "config.json").touch()


def test_runs_that_collapse_again_at_once_find_what_they_start_from(run, tmp_path, monkeypatch):
    """Every iteration from the fifth on, and every first one after a restart."""
    made, real = [], module._iterate
    monkeypatch.setattr(
        module, "_iterate", lambda inputs, i, restarts: made.append((i, restarts)) or real(inputs, i, restarts)
    )
    monkeypatch.setattr(
        restarts, "collapse", lambda logs, _: "made up" if len(logs) >= 5 or logs[-1]["policy_loss"] is None else None
    )
    collapse = run.preset.ppo.collapse.model_copy(update={"back": 2, "restarts": 2})
    ppo(quick(run, iterations=5, collapse=collapse), tmp_path / "ppo")
    assert made == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (4, 1), (3, 2), (4, 2), (5, 2)]


def test_a_finished_run_needs_no_training_file_and_one_that_goes_on_makes_a_lost_one_again(run, tmp_path):
    shorter, longer = (quick(run, iterations=number) for number in (4, 5))
    ppo(longer, tmp_path / "whole")
    out = tmp_path / "ppo"
    ppo(shorter, out)
    for file in out.glob("training*"):
        file.unlink()
    before = contents(out)
    ppo(shorter, out)
    assert contents(out) == before
    ppo(longer, out)  # whose optimisers' rates are the same, since these are constant
    assert models(out) == models(tmp_path / "whole")


def test_a_policy_of_another_rate_lies_in_a_folder_of_its_own(run):
    align(run, "ppo", "own")
    align(run, "ppo", "0.002")
    first, other = (run.folder / "ppo" / rate / "iteration03" / "model.safetensors" for rate in ("own", "0.002"))
    assert first.read_bytes() != other.read_bytes()
