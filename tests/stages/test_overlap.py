"""Overlap of two tasks by layer: values on matrices made by hand, gradients by finite differences, the command on a tiny run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import theory
from llm.config import load_preset
from llm.errors import UserError
from llm.evaluation import local
from llm.evidence.claims.book import read_overlaps
from llm.models.batches import Tokens
from llm.run import Run
from llm.stages import overlap as stage
from microcosm_runs import command


def spanned(vectors):
    """(block, d, d): every block holds the same energy in these directions."""
    return np.repeat((vectors.T @ vectors)[None], stage.BLOCKS, axis=0)


def test_the_rank_holds_nine_tenths_of_the_energy():
    assert stage.rank_of(np.diag([5.0, 4.0, 1.0, 0.0])) == 2
    assert stage.rank_of(np.diag([5.0, 3.9, 1.1, 0.0])) == 3
    assert stage.rank_of(np.eye(20)) == 18


def test_cosines_are_those_of_planes_built_with_them():
    first, second = np.zeros((2, 6)), np.zeros((2, 6))
    first[0, 0] = first[1, 1] = 1.0
    second[0, [0, 2]] = 0.8, 0.6
    second[1, [1, 3]] = 0.28, 0.96
    found = stage.compare(spanned(first), spanned(second), np.random.default_rng(0))
    assert found["ranks"] == [2, 2] and sorted(found["cosines"]) == pytest.approx([0.28, 0.8])
    assert found["s2"] == pytest.approx(0.8**2 + 0.28**2) and found["null"]["random"] == pytest.approx(4 / 6)


def test_each_task_has_its_own_rank_and_the_smaller_one_says_how_many_cosines_there_are():
    """Three directions against one that lies in their span but for an angle of cosine .6, in a space turned at random."""
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))[0]
    wide, narrow = np.eye(7)[:3], np.array([[0.36, 0.48, 0, 0.8, 0, 0, 0]])
    for first, second, ranks in ((wide, narrow, [3, 1]), (narrow, wide, [1, 3])):
        found = stage.compare(spanned(first @ turn), spanned(second @ turn), np.random.default_rng(0))
        assert found["ranks"] == ranks and found["cosines"] == pytest.approx([0.6])
        assert (found["s2"], found["s4"]) == pytest.approx((0.36, 0.36**2))
        assert found["predicted"] == pytest.approx((4 + 0.72) ** 2 / (4 + 12 * 0.36 + 2 * 0.36**2) / 3**0.5 - 1)
        assert found["null"]["random"] == pytest.approx(3 / 7) and found["null"]["within"] == pytest.approx(1)


def test_the_same_task_twice_is_within_the_permutations_and_another_below_them():
    rng = np.random.default_rng(1)

    def blocks(scale):
        x = rng.normal(size=(stage.BLOCKS, 200, 8)) * scale
        return np.einsum("bnd,bne->bde", x, x)

    one, other = np.array([4, 3, 2.2, 0.1, 0.1, 0.1, 0.1, 0.1]), np.array([0.1, 0.1, 4, 0.1, 0.1, 3.4, 2.6, 0.1])
    same = stage.compare(blocks(one), blocks(one), rng)
    differ = stage.compare(blocks(one), blocks(other), rng)
    assert same["ranks"] == differ["ranks"] == [3, 3]
    assert same["s2"] >= same["null"]["low"] - 0.05 and same["null"]["within"] > 0.98
    assert differ["s2"] < differ["null"]["low"] - 0.5 and differ["null"]["within"] > 0.98


def test_subspaces_at_random_overlap_by_the_product_of_their_ranks_over_the_dimension():
    rng, found = np.random.default_rng(3), []
    for _ in range(200):
        a, b = (spanned(np.linalg.qr(rng.normal(size=(12, n)))[0].T).sum(axis=0) for n in (2, 5))
        found.append((stage.cosines_of(a, b, [2, 5]) ** 2).sum())
    assert np.mean(found) == pytest.approx(2 * 5 / 12, abs=5 * np.std(found) / 200**0.5)


@pytest.mark.parametrize(
    "cosines,n_a,n_b",
    [([1, 1, 0, 0], 4, 4), ([0.9, 0.5, 0.1], 3, 3), ([0], 1, 1), ([0.7, 0.2], 2, 9), ([1, 0.5], 6, 2)],
)
def test_the_predicted_gain_is_the_theorys(cosines, n_a, n_b):
    overlap = theory.overlap_of(cosines, n_a, n_b)
    alone = [theory.effective_features([n], [1]) for n in (n_a, n_b)]
    expected = theory.graded_effective_features(overlap, "weights") / np.sqrt(np.prod(alone)) - 1
    assert stage.predicted_gain(n_a, n_b, overlap.s2, overlap.s4) == pytest.approx(expected)


class Tiny(torch.nn.Module):
    """Embeddings, two layers that add to what they get, a head: enough of a language model to have gradients."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.model = torch.nn.Module()
        self.model.embed_tokens = torch.nn.Embedding(7, 4)
        self.model.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
        self.lm_head = torch.nn.Linear(4, 7)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        self.model.forward = self._read

    @property
    def device(self):
        return torch.device("cpu")

    def _read(self, input_ids, attention_mask, use_cache):
        hidden = self.model.embed_tokens(input_ids)
        for layer in self.model.layers:
            hidden = layer(hidden.cumsum(dim=1))
        return type("Output", (), {"last_hidden_state": hidden})


class Evaluator:
    class tokenizer:
        pad_token_id = 0


def test_gradients_are_slopes_of_the_mean_log_likelihood():
    """The layer's output is moved a little in one direction at one token; the log-likelihood must follow g."""
    model = Tiny()
    examples = [Tokens([1, 2], [3, 4 + i % 3]) for i in range(stage.BLOCKS)]
    sums = stage.gradient_blocks(model, examples, Evaluator, [0, 1])
    assert sums.shape == (2, stage.BLOCKS, 4, 4)
    np.testing.assert_array_equal(stage.gradient_blocks(model, examples, Evaluator, [1]), sums[1:])
    ids, step = torch.tensor([[1, 2, 3, 4]]), 1e-5
    numeric = np.zeros((4, 4))  # (token, direction) slopes of the first example at the second layer's output
    for token in range(4):
        for direction in range(4):
            values = []
            for sign in (1, -1):
                move = torch.zeros(1, 4, 4, dtype=torch.float64)
                move[0, token, direction] = sign * step
                handle = model.model.layers[1].register_forward_hook(lambda m, a, out, move=move: out + move)
                hidden = model._read(ids, None, False).last_hidden_state
                handle.remove()
                logs = model.lm_head(hidden).log_softmax(dim=-1)
                values.append((logs[0, 1, 3] + logs[0, 2, 4]).item() / 2)
            numeric[token, direction] = (values[0] - values[1]) / (2 * step)
    np.testing.assert_allclose(sums[1, 0], numeric.T @ numeric, rtol=1e-4, atol=1e-8)


def test_too_few_examples_are_refused():
    with pytest.raises(UserError, match="overlap: 3 examples are not enough; at least 16 are needed"):
        stage.gradient_blocks(Tiny(), [Tokens([1], [2])] * 3, Evaluator, [0])


def test_texts_are_the_only_ability_where_a_preset_has_some(tmp_path):
    def of(name):
        return local.Evaluator(Run(load_preset(name), 0, tmp_path), tmp_path, tmp_path)

    evaluator = of("smollm2-135m")
    found = stage._of_texts(evaluator)
    given = evaluator.run.preset.evaluate
    assert given.qa and found.run.preset.evaluate.counts == {"qa": 0, "reading": 0, "text": given.text}
    assert found.run.folder == evaluator.run.folder
    assert stage._of_texts(found := of("microcosm")) is found


def test_every_so_many_layers_are_compared_and_averaged(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "BLOCKS", 4)
    preset = load_preset("smoke").model_copy(update={"thin_layers": 2})
    for step in (["pretrain"], ["sft"], ["reward"], ["align"]):
        assert command(monkeypatch, *step, "--preset", "smoke", "--out", tmp_path) == 0
    run = Run(preset, 0, tmp_path)
    evaluator = local.Evaluator(run, run.folder / "theta_0", run.folder / "reward")
    found = stage.overlap(evaluator, stage.theta_folder(run, "rsf", "own"))
    assert list(found["layers"]) == ["layer1", "layer3"]
    whole = stage.overlap(
        replace(evaluator, run=replace(run, preset=load_preset("smoke"))), stage.theta_folder(run, "rsf", "own")
    )
    for name, layer in found["layers"].items():
        assert (
            layer["effect"] == whole["layers"][name]["effect"] and layer["cosines"] == whole["layers"][name]["cosines"]
        )


def test_the_command_writes_what_the_notebook_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "BLOCKS", 4)
    for step in (["pretrain"], ["sft"], ["reward"], ["align"]):
        assert command(monkeypatch, *step, "--preset", "smoke", "--out", tmp_path) == 0
    to = tmp_path / "results" / "overlap-seed0.json"
    assert command(monkeypatch, "overlap", "--preset", "smoke", "--out", tmp_path, "--to", to) == 0
    (found,) = read_overlaps(to.parent)
    of_rsf = found["rlhf"]["rsf"]
    assert (found["preset"], found["seed"], list(of_rsf["layers"])) == ("smoke", 0, ["layer1", "layer2", "layer3"])
    for layer in of_rsf["layers"].values():
        assert min(layer["ranks"]) == len(layer["cosines"]) and max(layer["ranks"]) <= of_rsf["dimension"]
        assert 0 <= layer["s4"] <= layer["s2"] <= min(layer["ranks"]) + 1e-9
        assert layer["effect"]["half"].keys() == layer["effect"]["start"].keys() == of_rsf["theta"].keys()
