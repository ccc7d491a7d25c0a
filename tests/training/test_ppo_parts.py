"""The parts of PPO by value: KL penalty, GAE, whitening, clipping, critic, and signs of a collapse."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.data.microcosm.tokenizer import build_tokenizer
from llm.models.batches import pad_right
from llm.models.loading import fresh_reward_model
from llm.models.save import save_model
from llm.training.rlhf.ppo.experience import fresh_critic
from llm.training.rlhf.ppo.objective import gae, policy_loss, token_rewards, value_loss, whiten
from llm.training.rlhf.ppo.restarts import collapse
from microcosm_runs import smoke, tiny_model

MASK = torch.tensor([[0.0, 1, 1, 1, 0], [1.0, 1, 0, 0, 0]])
USUAL = {"reward": 2.0, "length": 20.0, "unfinished": 0.1, "critic_loss": 0.5, "fresh_critic": False}


def test_every_token_pays_for_its_own_kl_and_the_last_one_gets_the_score():
    log_probs = torch.tensor([[9.0, -1.0, -2.0, -0.5, 9.0], [-3.0, -1.0, 9.0, 9.0, 9.0]])
    reference = torch.tensor([[7.0, -1.5, -1.0, -0.5, 3.0], [-3.5, -4.0, 1.0, 1.0, 1.0]])
    rewards = token_rewards(torch.tensor([4.0, -1.0]), log_probs, reference, MASK, eta=0.1)
    expected = torch.tensor([[0, -0.05, 0.1, 4.0, 0], [-0.05, -1.0 - 0.3, 0, 0, 0]])
    torch.testing.assert_close(rewards, expected)


def test_gae_of_a_reply_worked_out_by_hand():
    rewards = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0], [0.5, 3.0, 0.0, 0.0, 0.0]])
    values = torch.tensor([[7.0, 0.5, 1.0, 4.0, 9.0], [1.0, 2.0, 8.0, 9.0, 9.0]])
    advantages, returns = gae(rewards, values, MASK, gamma=0.5, lam=0.5)
    # row 0, backwards: 2 - 4 = -2; 0 + .5 * 4 - 1 = 1, plus .25 * -2 = .5; 1 + .5 * 1 - .5 = 1, plus .25 * .5 = 1.125
    # row 1: 3 - 2 = 1; .5 + .5 * 2 - 1 = .5, plus .25 * 1 = .75
    torch.testing.assert_close(advantages, torch.tensor([[0, 1.125, 0.5, -2, 0], [0.75, 1, 0, 0, 0]]))
    torch.testing.assert_close(returns, torch.tensor([[0, 1.625, 1.5, 2, 0], [1.75, 3, 0, 0, 0]]))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.7, 1.0]))
def test_gae_ends_at_one_step_and_at_the_whole_return(seed, gamma):
    """lam = 0: the one-step error. lam = 1: the discounted sum of rewards, whatever the critic says later."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(2, 5, generator=generator) for _ in range(2))
    one, _ = gae(rewards, values, MASK, gamma, 0.0)
    _, whole = gae(rewards, values, MASK, gamma, 1.0)
    for row, places in ((0, [1, 2, 3]), (1, [0, 1])):
        for i, t in enumerate(places):
            following = values[row, t + 1] if t + 1 in places else 0.0
            assert one[row, t].item() == pytest.approx(
                (rewards[row, t] + gamma * following - values[row, t]).item(), abs=1e-5
            )
            discounted = sum(gamma**k * rewards[row, later].item() for k, later in enumerate(places[i:]))
            assert whole[row, t].item() == pytest.approx(discounted, abs=1e-5)


def test_whitening_counts_the_tokens_of_the_replies_alone():
    x = torch.tensor([[100.0, 1.0, 2.0, 3.0, 50.0], [4.0, 5.0, -90.0, 0.0, 0.0]])
    white = whiten(x, MASK)
    root = 2**0.5
    torch.testing.assert_close(white, torch.tensor([[0, -root, -root / 2, 0, 0], [root / 2, root, 0, 0, 0]]))
    assert torch.equal(whiten(torch.full((2, 5), 3.0), MASK), torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),  # of the loss by the log-probability
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),
        (0.5, 2.0, -1.0, -1.0),
        (1.5, -2.0, 3.0, 3.0),
        (0.5, -2.0, 1.6, 0.0),
        (0.9, -2.0, 1.8, 1.8),
    ],
)
def test_the_ratio_is_clipped_where_it_has_gone_far_enough(ratio, advantage, loss, slope):
    log_probs = torch.tensor([[ratio]]).log().requires_grad_()
    value = policy_loss(log_probs, torch.zeros(1, 1), torch.tensor([[advantage]]), torch.ones(1, 1), clip=0.2)
    value.backward()
    assert value.item() == pytest.approx(loss, rel=1e-5)
    assert log_probs.grad.item() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "returned", "loss", "slope"),  # the old value is 1, the clip 0.5
    [
        (1.2, 3.0, 0.5 * 1.8**2, -1.8),
        (2.5, 3.0, 0.5 * 1.5**2, 0.0),
        (2.5, 1.0, 0.5 * 1.5**2, 1.5),
        (0.0, -1.0, 0.5 * 1.5**2, 0.0),
        (0.0, 1.0, 0.5 * 1.0, -1.0),
    ],
)
def test_the_value_is_clipped_where_it_has_gone_far_enough(value, returned, loss, slope):
    values = torch.tensor([[value]], requires_grad=True)
    found = value_loss(values, torch.ones(1, 1), torch.tensor([[returned]]), torch.ones(1, 1), clip=0.5)
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-5)
    assert values.grad.item() == pytest.approx(slope, abs=1e-5)


def test_losses_are_means_over_the_tokens_of_the_replies():
    x = torch.arange(10.0).reshape(2, 5)
    advantages = torch.where(MASK > 0, x, 1e6)
    same = torch.zeros(2, 5)
    assert policy_loss(same, same, advantages, MASK, 0.2).item() == pytest.approx(-(1 + 2 + 3 + 5 + 6) / 5)
    wanted = 0.5 * (1 + 4 + 9 + 25 + 36) / 5
    assert value_loss(same, same, advantages, MASK, 0.2).item() == pytest.approx(wanted)


def test_a_fresh_critic_says_of_every_beginning_what_the_reward_model_says_of_it(tmp_path):
    tokenizer = build_tokenizer()
    save_model(tiny_model(), tokenizer, tmp_path / "theta_0")
    reward_model = fresh_reward_model(tmp_path / "theta_0")
    save_model(reward_model, tokenizer, tmp_path / "reward")
    sequences = [[5, 6, 7, 8, 9], [10, 11, 12]]
    batch = pad_right([(ids, [1.0] * len(ids)) for ids in sequences], tokenizer.pad_token_id)
    with torch.no_grad():
        values = fresh_critic(tmp_path / "reward", baseline=0.25)(batch)
        assert values.shape == (2, 4)
        for row, ids in enumerate(sequences):
            for t in range(1, len(ids)):
                score = reward_model(input_ids=torch.tensor([ids[:t]])).logits[0, 0].item()
                assert values[row, t - 1].item() == pytest.approx(score - 0.25, abs=1e-5)
    assert values.std() > 0.01


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"reward": 1.1}, None),
        ({"reward": 0.9}, "the mean reward fell from 2.00 to 0.90"),
        ({"length": 11.0}, None),
        ({"length": 9.0}, "the mean length fell from 20.0 to 9.0 tokens"),
        ({"unfinished": 0.35}, None),
        ({"unfinished": 0.45}, "the share of unfinished replies rose from 0.10 to 0.45"),
        ({"critic_loss": 1.4}, None),
        ({"critic_loss": 1.6}, "the critic's loss rose from 0.500 to 1.600"),
        ({"critic_loss": 1.6, "fresh_critic": True}, None),
        ({"reward": 0.9, "fresh_critic": True}, "the mean reward fell from 2.00 to 0.90"),
    ],
)
def test_a_collapse_is_a_sudden_change_for_the_worse(changed, said):
    limits = {"window": 2, "reward_drop": 1.0, "shortest": 0.5, "cut_off": 0.3, "critic_loss": 3.0}
    settings = smoke().ppo.collapse.model_copy(update=limits)
    old = USUAL | {"reward": 90.0, "critic_loss": 0.001}  # before the window
    assert collapse([old, USUAL, USUAL, USUAL | changed], settings) == said
    assert collapse([USUAL | changed], settings) is None  # nothing to compare with


def test_the_loss_of_a_fresh_critic_is_no_measure_of_later_ones():
    settings = smoke().ppo.collapse.model_copy(update={"window": 2, "critic_loss": 3.0})
    fresh = USUAL | {"fresh_critic": True, "critic_loss": 0.01}
    assert collapse([fresh, USUAL], settings) is None
    assert collapse([fresh, USUAL, USUAL | {"critic_loss": 1.6}], settings) is not None
