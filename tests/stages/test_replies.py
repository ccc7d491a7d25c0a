"""Sample replies along a ratio: what `show --averaged` writes, against transformers' own greedy generation."""

import json

import pytest
import torch

from llm.files import parse_json
from llm.models.chat import prompt_ids
from llm.models.loading import load_model, load_tokenizer
from llm.stages.align import theta_folder
from llm.stages.replies import ALPHAS
from microcosm_runs import command


@pytest.fixture(scope="module")
def shown(run):
    from llm.stages.backend import backend_of
    from llm.stages.replies import sample_replies

    return sample_replies(backend_of(run).evaluator(), "rsf", 2)


def test_the_ends_are_what_theta_0_and_theta_say_themselves(run, shown):
    assert shown["alphas"] == list(ALPHAS) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    said = set()
    for place, folder in ((0, run.folder / "theta_0"), (-1, theta_folder(run, "rsf", "own"))):
        model, tokenizer = load_model(folder), load_tokenizer(folder)
        for one in shown["asked"]:
            ids = torch.tensor([prompt_ids(tokenizer, one["prompt"])])
            made = model.generate(ids, do_sample=False, max_new_tokens=run.preset.max_new_tokens)[0, ids.shape[1] :]
            ids = made.tolist()
            text = tokenizer.decode(ids[: ids.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else ids)
            assert one["replies"][place]["reply"] == text
            said.add((one["prompt"], text))
    assert len(said) > len(shown["asked"]), "theta says nothing else than theta_0"


def test_prompts_are_of_each_kind_and_their_rewards_are_those_of_the_reply(run, shown):
    kinds = [f"alignment prompt, {kind}" for kind in run.preset.prompts] + [
        "test item, reading",
        "test item, translation",
    ]
    assert [one["kind"] for one in shown["asked"]] == [kind for kind in kinds for _ in range(2)]
    for kind in run.preset.prompts:
        prompts = run.source.prompts("test", {kind: 1.0}, 2, run.rng("replies", kind))
        for prompt, one in zip(prompts, [one for one in shown["asked"] if one["kind"].endswith(kind)]):
            assert one["prompt"] == prompt.text
            allowed = [
                {round(run.source.gold_reward(prompt, r["reply"], done), 2) for done in (True, False)}
                for r in one["replies"]
            ]
            assert all(reply["gold_reward"] in gold for reply, gold in zip(one["replies"], allowed, strict=True))
    of_items = [one for one in shown["asked"] if one["kind"].startswith("test item")]
    assert [one["prompt"] for one in of_items[:2]] == [
        item.prompt for item in run.source.items("test", run.preset.evaluate.counts).reading[:2]
    ]
    assert all(one["reference"] and set(reply) == {"reply"} for one in of_items for reply in one["replies"])


def test_the_command_writes_them_with_where_they_come_from(run, shown, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("llm.stages.replies.ALPHAS", (0.0, 1.0))
    to = tmp_path / "replies.json"
    given = ("--preset", "smoke", "--out", run.out, "--count", "2")
    assert command(monkeypatch, "show", *given, "--averaged", "rsf", "--to", to) == 0
    found = parse_json(to.read_bytes())
    assert (found["preset"], found["seed"], found["rlhf"]) == ("smoke", 0, "rsf")
    assert found["made_by"] == f"alignment-tax show --averaged rsf --preset smoke --seed 0 --count 2 --to {to}"
    assert found["asked"][0]["replies"] == [shown["asked"][0]["replies"][place] for place in (0, -1)]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("given", [("--averaged", "rsf"), ("--to", "replies.json")])
def test_one_of_the_two_options_alone_is_refused(given, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "show", "--preset", "smoke", *given) == 2
    assert (
        f"show: {given[0]} alone is not allowed; allowed are both of --averaged NAME and --to FILE, or none"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())
