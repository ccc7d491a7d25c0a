"""A model with a head of its own: it is made, trained, and its embeddings and head get ratios of their own by AMA."""

import json

import numpy as np
import pytest
import torch

from llm.averaging.live import mix_
from llm.config import GroupingSettings, load_preset, load_sweep
from llm.data.microcosm.tokenizer import build_tokenizer
from llm.errors import UserError
from llm.evidence.rows import write_rows
from llm.grouping import assign, labels, ratios
from llm.models.loading import load_model
from llm.models.save import build_model
from llm.stages.adapt import ratios_of
from llm.stages.average import measure_averages
from microcosm_runs import METRICS, evaluator, far_stepping, smoke, smoke_run, theta

(ENTRY,) = load_sweep("embeddings").averaging
GROUPS = ["part1", "part2", "part3", "embeddings", "head"]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def untied(preset):
    return preset.model_copy(update={"model": preset.model.model_copy(update={"tied_embeddings": False})})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return smoke_run(tmp_path_factory.mktemp("out"), preset=untied(far_stepping()))


def test_the_preset_is_the_microcosm_but_for_the_head():
    preset = load_preset("microcosm-1-untied")
    assert preset == untied(load_preset("microcosm-1")).model_copy(update={"name": "microcosm-1-untied"})


def test_an_untied_head_begins_as_the_embeddings_and_goes_its_own_way(run):
    first = build_model(run.preset.model, build_tokenizer(), seed=1).state_dict()
    assert torch.equal(first[HEAD], first[EMBEDDINGS])
    assert first[HEAD].data_ptr() != first[EMBEDDINGS].data_ptr()
    for folder in (run.folder / "pretrained", run.folder / "theta_0", theta(run)):
        state = load_model(folder).state_dict()
        assert not torch.equal(state[HEAD], state[EMBEDDINGS])


def test_ama_gives_embeddings_and_head_ratios_of_their_own(run, tmp_path):
    found = ratios_of(run, theta(run), ENTRY, run.folder / "ama/rsf/own")
    rows = measure_averages(evaluator(run), theta(run), "rsf", ENTRY, None, found)
    write_rows(tmp_path / "rows.jsonl", rows)
    assert [row["metric"] for row in rows] == list(METRICS) * len(ENTRY.alphas)
    for row in rows:
        setting = row["setting"]
        assert (setting["embeddings"], setting["head"], setting["norm"]) == ("own", "own", "mean")
        assert list(setting["alphas"]) == GROUPS
        assert np.mean(list(setting["alphas"].values())) == pytest.approx(setting["alpha"], abs=1e-12)
        assert len(set(setting["alphas"].values())) == len(GROUPS)


@pytest.mark.parametrize("moved", ["embeddings", "head"])
def test_a_ratio_of_embeddings_or_head_moves_them_alone(run, moved):
    model, start = load_model(theta(run)), load_model(run.folder / "theta_0").state_dict()
    end = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assignment = assign(end, ENTRY.grouping.of_model(run.preset.model))
    assert labels(assignment) == GROUPS
    grouping = GroupingSettings(parts=3, embeddings="own", norm="theta", head="own").of_model(run.preset.model)
    assignment = assign(end, grouping)
    mix_(model, start, end, ratios(assignment, dict.fromkeys(GROUPS, 1.0) | {moved: 0.25}))
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, end[name])]
    name = {"embeddings": EMBEDDINGS, "head": HEAD}[moved]
    assert changed == [name]
    torch.testing.assert_close(model.state_dict()[name], 0.75 * start[name] + 0.25 * end[name])


def test_a_tied_head_has_no_ratio_of_its_own():
    assert not ENTRY.grouping.fits(smoke().model)
    assert ENTRY.grouping.fits(untied(smoke()).model)
    with pytest.raises(
        UserError,
        match="grouping.head = 'own' is not allowed with tied embeddings, which the head is; allowed are first",
    ):
        ENTRY.grouping.of_model(smoke().model)


def test_what_was_found_lies_beside_the_other_groupings(run):
    ratios_of(run, theta(run), ENTRY, run.folder / "ama/rsf/own")
    found = json.loads((run.folder / "ama/rsf/own" / f"{ENTRY.label}.json").read_text())
    assert list(found["found"]) == [str(alpha) for alpha in ENTRY.alphas]
    first = found["found"]["0.4"]["path"][0]["alphas"]
    assert first == dict.fromkeys(GROUPS, pytest.approx(0.4))
