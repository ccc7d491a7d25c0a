"""`front` on model folders: the numbers, the rows, the report."""

import json

import numpy as np
import pytest
import torch

from front_runs import Links, average_apart, lines, row, run
from llm.evaluation.measurement import bleu_statistics, corpus_bleu, f1
from llm.evidence.community import check
from llm.evidence.rows import read_rows
from llm.models.chat import encode_together, generate_replies
from llm.models.loading import load_reward_model, load_tokenizer
from llm.models.rewards import reward_scores


def test_rows_cover_both_ends_and_every_ratio_with_errors(found):
    frame = read_rows(found / "rows.jsonl")
    of_choices = {f"qa/{metric}" for metric in ("acc_norm", "brier", "calibration_error", "log_likelihood")}
    assert set(frame.metric) == {"reward", "qa", "reading", "french", "reward/length", "reward/distinct_2"} | of_choices
    assert len(frame) == 4 * 10
    assert set(frame.preset) == {"tiny"}
    assert set(frame[frame.method == "theta_0"].rlhf) == {"none"}
    assert set(frame[frame.method != "theta_0"].rlhf) == {"dpo"}
    assert (frame.n == 8).all()
    assert frame.stderr.notna().all()


def test_rows_with_the_abilities_names_may_be_contributed(folder, tmp_path):
    tasks = f"qa={folder / 'qa.jsonl'},bleu={folder / 'french.jsonl'}"
    run(folder, tmp_path, name="pair", tasks=tasks, alphas="0,0.25,0.5,0.75,1")
    community = tmp_path / "community" / "pair"
    community.mkdir(parents=True)
    (community / "README.md").write_text("made by hand")
    (tmp_path / "rows.jsonl").rename(community / "rows.jsonl")
    assert check(community) == "pair: 63 rows, 1 seed, dpo; nothing is missing."


def test_ratio_0_is_theta_0_and_values_are_means_of_the_stored_items(found):
    frame = read_rows(found / "rows.jsonl")
    for metric in ("reward", "qa", "reading", "french"):
        assert row(frame, "ma", metric, '{"alpha": 0}').value == row(frame, "theta_0", metric).value
    stored = json.loads((found / "points" / "ma-0.5.json").read_text())["tasks"]
    for metric in ("reward", "qa", "reading"):
        items = np.array(stored[metric]["items"])
        assert row(frame, "ma", metric, '{"alpha": 0.5}').value == pytest.approx(items.mean())
        assert row(frame, "ma", metric, '{"alpha": 0.5}').stderr == pytest.approx(items.std(ddof=1) / np.sqrt(8))
    assert row(frame, "ma", "french", '{"alpha": 0.5}').value == pytest.approx(
        corpus_bleu(np.array(stored["french"]["items"]))
    )
    assert row(frame, "ma", "reward", '{"alpha": 0.5}').value != row(frame, "theta", "reward").value


@pytest.fixture(scope="module")
def averaged(folder):
    return average_apart(folder)


def stored(found, task):
    return np.array(json.loads((found / "points" / "ma-0.5.json").read_text())["tasks"][task]["items"])


def greedy(model, tokenizer, prompt, tokens=4):
    """The likeliest reply by a plain loop without cache."""
    ids = tokenizer.encode(f"w5 {prompt} w6", add_special_tokens=False)
    start = len(ids)
    for _ in range(tokens):
        with torch.no_grad():
            token = model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()
        if token == 1:
            break
        ids.append(token)
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_choices_are_the_likeliest_by_a_plain_computation(found, folder, averaged):
    model, tokenizer = averaged
    for item, score in zip(lines(folder, "qa"), stored(found, "qa"), strict=True):
        sums = []
        for choice in item["choices"]:
            context = tokenizer.encode(f"w5 {item['prompt']} w6", add_special_tokens=False)
            whole = torch.tensor([context + tokenizer.encode(choice, add_special_tokens=False)])
            with torch.no_grad():
                log_p = model(input_ids=whole).logits[0, :-1].log_softmax(-1)
            sums.append(log_p.gather(1, whole[0, 1:, None])[len(context) - 1 :].sum().item())
        right = item["answer"] if isinstance(item["answer"], int) else item["choices"].index(item["answer"])
        assert score == (int(np.argmax(sums)) == right)


def test_answers_and_translations_are_scored_on_the_likeliest_reply(found, folder, averaged):
    replies = [greedy(*averaged, item["prompt"]) for item in lines(folder, "reading")]
    expected = [
        max(f1(reply, answer) for answer in item["answers"])
        for reply, item in zip(replies, lines(folder, "reading"), strict=True)
    ]
    assert stored(found, "reading") == pytest.approx(expected)
    references = [item["reference"] for item in lines(folder, "french")]
    assert stored(found, "french").tolist() == bleu_statistics(replies, references, tokenize="13a").tolist()


def test_rewards_are_of_sampled_replies_with_the_same_random_numbers_for_every_model(found, folder, averaged):
    reward, words = load_reward_model(folder / "reward"), load_tokenizer(folder / "reward")
    prompts = [line["prompt"] for line in lines(folder, "prompts")]
    how = {"max_new_tokens": 5, "temperature": 1.0, "batch_size": 16, "skip_special_tokens": True}
    replies = generate_replies(*averaged, prompts, rng=torch.Generator().manual_seed(0), **how)
    triples = [(prompt, *reply) for prompt, reply in zip(prompts, replies, strict=True)]
    scores = reward_scores(reward, words, triples, 16, encode_together)
    assert stored(found, "reward") == pytest.approx(scores.numpy(), abs=1e-5)


def test_the_report_needs_nothing_else_and_says_what_was_found(found):
    page = Links()
    page.feed((found / "report.html").read_text())
    assert page.found and all(link.startswith("data:image/png;base64,") for link in page.found)
    text = " ".join(page.text)
    decision = json.loads((found / "recommendation.json").read_text())
    if decision["alpha"] is None:
        assert "no ratio is recommended" in text and "theta does not measurably beat theta_0" in text
    elif decision["alpha"] < 1:
        assert f"Take alpha = {decision['alpha']:g}" in text
        assert "alignment-tax average --theta-0" in text
    else:
        assert "keep theta" in text
    for name in ("front.png", "front.pdf"):
        assert (found / name).stat().st_size > 5000


def test_tasks_may_be_called_what_the_pictures_take_for_formulas(folder, tmp_path):
    names = ["$a^{$", "b_$x"]
    tasks = ",".join(f"{name}={folder / file}.jsonl" for name, file in zip(names, ("french", "reading"), strict=True))
    run(
        folder,
        tmp_path / "front",
        tasks=tasks,
        alignment=names[0],
        **{"reward-model": None, "prompts": None, "alphas": "0.5"},
    )
    assert set(read_rows(tmp_path / "front" / "rows.jsonl").metric) == set(names)
    assert (tmp_path / "front" / "front.pdf").stat().st_size > 5000


def test_several_replies_a_prompt_are_averaged_for_each(folder, tmp_path, averaged):
    run(folder, tmp_path / "front", tasks=folder / "qa.jsonl", alphas="0.5", samples=3)
    kept = json.loads((tmp_path / "front" / "points" / "ma-0.5.json").read_text())["tasks"]
    prompts = [row["prompt"] for row in lines(folder, "prompts") for _ in range(3)]
    how = {"max_new_tokens": 5, "temperature": 1.0, "batch_size": 16, "skip_special_tokens": True}
    replies = generate_replies(*averaged, prompts, rng=torch.Generator().manual_seed(0), **how)
    reward, words = load_reward_model(folder / "reward"), load_tokenizer(folder / "reward")
    scores = reward_scores(reward, words, [(p, *r) for p, r in zip(prompts, replies, strict=True)], 16, encode_together)
    assert kept["reward"]["items"] == pytest.approx(scores.numpy().reshape(8, 3).mean(axis=1), abs=1e-5)
    assert "reward/self_bleu" in kept
