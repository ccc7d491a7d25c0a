"""Groups of items: small, and as good as the items for the error of a difference of two models."""

import numpy as np
import pytest

from llm.errors import UserError
from llm.evaluation.measurement import BLEU, Measurement, bleu_statistics, rows_of
from llm.evidence import paths
from llm.evidence.groups import GROUPS, decode, encode, grouped
from llm.evidence.rows import read_rows, write_rows
from llm.run import Run
from microcosm_runs import ROW, smoke


def written(tmp_path, models: list[dict[str, Measurement]]):
    """One frame a model, of rows that went through a file."""
    for number, measured in enumerate(models):
        (tmp_path / f"{number}").mkdir()
        rows = rows_of(Run(smoke(), 0, tmp_path), "none", "theta_0", {}, measured, 1.0)
        write_rows(tmp_path / f"{number}" / "core.jsonl", rows)
    return [read_rows(tmp_path / f"{number}") for number in range(len(models))]


def test_half_precision_is_read_back_and_takes_56_characters():
    rng = np.random.default_rng(0)
    deviations = rng.normal(size=GROUPS)
    assert len(encode(deviations)) == 56
    assert decode(encode(deviations)) == pytest.approx(deviations, rel=1e-3)


@pytest.mark.parametrize("count", [2, 19, 20, 21, 399, 400])
def test_groups_have_the_mean_0_and_the_standard_error_of_the_items(count):
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        items = rng.normal(3, 2, size=count)
        deviations = grouped(items)
        assert len(deviations) == min(GROUPS, count)
        assert deviations.mean() == pytest.approx(0, abs=1e-12)
        errors.append(deviations.var(ddof=1) / len(deviations))
    assert np.mean(errors) == pytest.approx(4 / count, rel=0.25 if count < 9 else 0.1)


def test_the_error_of_a_difference_is_that_of_the_items_differences(tmp_path):
    rng = np.random.default_rng(0)
    hard = rng.normal(size=400)
    items = [hard + 0.1 * rng.normal(size=400) for _ in range(2)]
    first, second = written(tmp_path, [{"qa": Measurement.of(of_model)} for of_model in items])
    exact = np.subtract(*items).std(ddof=1) / 20
    assert paths.items_error(first, second, "qa") == pytest.approx(exact, rel=0.35)
    assert exact < 0.2 * first["stderr"].iloc[0]  # what both share is not in it


def test_bleu_has_groups_too_by_the_jackknife(tmp_path):
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(list("abcdefgh"), 8)) for _ in range(200)]

    def said(by_chance):
        return [" ".join(w if rng.random() > by_chance else "x" for w in text.split()) for text in references]

    models = [
        {"bleu": Measurement.of(bleu_statistics(said(p), references), BLEU, np.random.default_rng(1))}
        for p in (0.1, 0.2)
    ]
    first, second = written(tmp_path, models)
    for rows in (first, second):
        groups = np.array(rows["items"].iloc[0])
        assert groups.mean() == pytest.approx(rows["value"].iloc[0], abs=1e-2)
        assert groups.std(ddof=1) / np.sqrt(GROUPS) == pytest.approx(rows["stderr"].iloc[0], rel=0.4)
    assert paths.items_error(first, second, "bleu") == pytest.approx(
        np.hypot(first["stderr"].iloc[0], second["stderr"].iloc[0]), rel=0.5
    )  # each model's own chance errors


def test_only_what_is_compared_has_groups(tmp_path):
    rng = np.random.default_rng(0)
    measured = {key: Measurement.of(rng.normal(size=30)) for key in ("reward", "qa", "qa_ece", "length", "forward_kl")}
    (rows,) = written(tmp_path, [measured])
    assert set(rows.loc[rows["items"].notna(), "metric"]) == {"reward", "qa", "qa_ece"}


@pytest.mark.parametrize("text", ["", "AAA", "?", encode(np.full(3, np.nan)), encode(np.zeros(GROUPS + 1))])
def test_other_groups_are_refused(text, tmp_path):
    with pytest.raises(UserError, match="groups = .* is not allowed; it must be groups of items as base64"):
        write_rows(tmp_path / "rows.jsonl", [ROW | {"groups": text}])
