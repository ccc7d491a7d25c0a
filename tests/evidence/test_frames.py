"""Which rows may be read: those of the table of methods, to which a new method and a new ability are one entry each."""

import json
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from drawing import fronts, gains, style
from llm import methods
from llm.errors import UserError
from llm.evidence import metrics, paths
from llm.evidence.compare import contests
from llm.evidence.frames import abilities, after, known_metrics, read_preset
from llm.evidence.rows import parse_row
from llm.evidence.summary import summary
from rsf_rows import core, model, rows_of, write

RESULTS = Path(__file__).parents[2] / "results"
FOLDERS = sorted({path.parent for path in RESULTS.glob("*/*.jsonl")})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_all_committed_rows_are_known_and_complete(folder):
    rows = read_preset(folder)
    for rlhf in sorted(set(rows["rlhf"]) - {"none"}):
        assert after(rows, rlhf)["family"].notna().all()


@pytest.mark.parametrize(
    ("method", "setting", "said"),
    [
        ("magic", {}, "results: method = 'magic' is unknown; allowed are chance, reward_model, theta_0, theta, "),
        (
            "ma",
            {"alpha": 0.4, "layers": "even"},
            "method = ma has a setting layers, which is unknown; allowed are alpha, lr",
        ),
        ("l2", {"lambda": 0.1}, "method = l2 has a setting lambda, which is unknown; allowed are lr, strength"),
        ("theta_0", {"lr": 0.1}, "method = theta_0 has a setting lr, which is unknown; allowed are none"),
        ("ma", {"alpha": "x"}, "method = ma has a setting alpha = 'x'; allowed are numbers in [0, 1]"),
        ("ma", {"alpha": "0.5"}, "method = ma has a setting alpha = '0.5'; allowed are numbers in [0, 1]"),
        ("ma", {"alpha": True}, "method = ma has a setting alpha = True; allowed are numbers in [0, 1]"),
        ("ma", {"alpha": 1.5}, "method = ma has a setting alpha = 1.5; allowed are numbers in [0, 1]"),
        ("ma", {"alpha": [0.5]}, "method = ma has a setting alpha = [0.5]; allowed are numbers in [0, 1]"),
        ("ama", {"alphas": {"part1": 2}}, "setting alphas = {'part1': 2}; allowed are numbers in [0, 1] of the groups"),
        (
            "ama",
            {"alphas": 0.5},
            "method = ama has a setting alphas = 0.5; allowed are numbers in [0, 1] of the groups",
        ),
        ("ama", {"head": 1}, "method = ama has a setting head = 1; allowed are names of groups"),
        ("lora", {"targets": "all"}, "setting targets = 'all'; allowed are mlp or mlp+attention"),
        ("early-stopping", {"iteration": 0}, "setting iteration = 0; allowed are whole numbers in [1, inf)"),
    ],
)
def test_an_unknown_method_or_setting_is_an_error_that_names_it(tmp_path, method, setting, said):
    with pytest.raises(UserError) as error:
        paths.load(write(tmp_path, core(0) + rows_of(0, method, setting, model(1, 1))))
    assert said in str(error.value)


def test_an_unknown_metric_is_an_error_that_names_it_and_lm_evals_numbers_are_known(tmp_path):
    rows = core(0)
    write(tmp_path, [*rows, rows[0] | {"metric": "arc_easy"}, rows[0] | {"metric": "drop_em"}])
    assert {"arc_easy", "drop_em"} <= set(read_preset(tmp_path)["metric"])
    write(tmp_path, [*rows, rows[0] | {"metric": "rhyme"}])
    with pytest.raises(
        UserError, match=r"results: metric = rhyme is an unknown name; allowed are accuracy, .*win_rate"
    ):
        read_preset(tmp_path)


def test_older_seeds_may_lack_what_is_measured_of_every_model_of_newer_ones(tmp_path):
    def measured(row):
        return row["seed"] == 1 and row["metric"] == "qa" and row["method"] != "chance"

    rows = [row for seed in range(2) for row in core(seed)]
    further = [row | {"metric": name} for row in rows if measured(row) for name in ("qa_brier", "forward_kl")]
    write(tmp_path, rows + further)
    assert set(paths.load(tmp_path).query("metric == 'forward_kl'")["seed"]) == {1}
    write(
        tmp_path, rows + [row for row in further if (row["metric"], row["setting"]) != ("forward_kl", {"alpha": 0.4})]
    )
    with pytest.raises(UserError, match="no row for method = ma, .*0.4.*, seed = 1, metric = forward_kl"):
        paths.load(tmp_path)


def test_a_setting_that_lacks_what_names_its_family_is_an_error_that_names_it(tmp_path):
    rows = read_preset(write(tmp_path, core(0) + rows_of(0, "part", {"alpha": 0.4}, model(1, 1))))
    with pytest.raises(UserError, match=r"method = part, setting = \{\"alpha\": 0.4\} has no 'part'; it must have one"):
        after(rows, "rsf")


@pytest.fixture
def toy(monkeypatch):
    """A mitigation that is in the table for the time of a test."""
    style.use()
    entry = methods.Method(
        "toy",
        "training",
        {"toy": methods.Look("toy brake", "#123456", ":", "toy")},
        "nowhere",
        options={"grip": methods.Option(least=0)},
        order=methods.Order(("grip",), falling=True, starts="theta_0", ends="distilled"),
    )
    monkeypatch.setitem(methods.METHODS, "toy", entry)


def test_one_entry_brings_a_new_mitigation_into_paths_comparisons_and_legends(tmp_path, toy):
    rows = [row for seed in (0, 1) for row in core(seed) + rows_of(seed, "distilled", {}, model(1, 0.5, 10.0 * seed))]
    for grip, rise in ((0.5, 0.9), (2.0, 0.5), (8.0, 0.2)):
        rows += [row for seed in (0, 1) for row in rows_of(seed, "toy", {"grip": grip}, model(rise, 0.9, 10.0 * seed))]
    found = after(read_preset(write(tmp_path, rows)), "rsf")
    path = paths.path(found, "toy")
    assert dict(zip(path["step"], path["grip"], strict=True)).keys() == {0, 1, 2, 3, 4}
    assert path.loc[path["step"] == 1, "grip"].unique().tolist() == [8.0]
    both = {"ma": paths.path(found, "ma"), "toy": path}
    (contest,) = contests(both, found)
    assert gains.named(contest) == "toy"
    assert set(contest.found) == set(product(("reward", "gold_reward"), ("qa", "reading_f1", "bleu")))
    fig = fronts.figure(fronts.by_reward(both, found), "microcosm")
    assert "toy brake" in [text.get_text() for legend in fig.legends for text in legend.get_texts()]
    plt.close(fig)
    with pytest.raises(KeyError, match="'brake' has no look"):
        style.look("brake")


def test_a_new_algorithm_is_one_that_rows_may_be_of(monkeypatch):
    row = rows_of(0, "theta", {}, {"qa": 0.5}, "grpo")[0]
    with pytest.raises(UserError, match="rlhf = 'grpo' is not allowed; it must be one of none, rsf, dpo, ppo"):
        parse_row(row, "here")
    entry = methods.Method("grpo", "alignment", {"grpo": methods.Look("GRPO", "#654321")}, "arXiv 2402.03300")
    monkeypatch.setitem(methods.METHODS, "grpo", entry)
    assert parse_row(row, "here").rlhf == "grpo"


def test_one_row_of_the_table_brings_a_new_ability_into_means_tables_and_figures(tmp_path, monkeypatch):
    """The names that derive from the table are made when it is imported, so they are set here as well."""
    style.use()
    added = metrics.Metric("rhyme", "ability", "rhyming", "share", 2, best=2.0, column="rhymes")
    table = {**metrics.METRICS, "rhyme": added}
    for module in ("frames", "summary", "metrics"):
        monkeypatch.setattr(f"llm.evidence.{module}.METRICS", table)
    for name in ("ABILITIES", "BOUNDED"):
        for module in ("frames", "metrics"):
            monkeypatch.setattr(f"llm.evidence.{module}.{name}", (*metrics.BOUNDED, "rhyme"))
    monkeypatch.setattr("drawing.fronts.METRICS", table)
    monkeypatch.setattr("drawing.panels.METRICS", table)
    rows = [row for seed in range(2) for row in core(seed)]
    rows += [row | {"metric": "rhyme", "value": 2 * row["value"]} for row in rows if row["metric"] == "qa"]
    loaded = paths.load(write(tmp_path, rows))
    assert abilities(loaded) == ("qa", "reading_f1", "bleu", "rhyme")
    start = loaded[(loaded["method"] == "theta_0") & (loaded["metric"] == "mean_ability")]
    assert start["value"].tolist() == pytest.approx([(0.9 + 0.8 + 1.0 + 0.9) / 4] * 2)
    assert "rhymes" in summary(tmp_path)
    fig = fronts.figure(fronts.by_reward({"ma": paths.path(loaded, "ma")}, loaded), "microcosm")
    assert [ax.get_ylabel() for ax in fig.axes[:4]][-1] == "rhyming (share)"
    plt.close(fig)


def test_every_metric_of_the_committed_rows_is_known():
    measured = {json.loads(line)["metric"] for path in RESULTS.glob("*/*.jsonl") for line in path.open()}
    assert measured <= known_metrics()


def test_a_run_may_stop_an_iteration_earlier_on_one_seed_but_may_not_leave_one_out(tmp_path):
    """Seed 0 of three iterations, seed 1 of two: its third is not missing; its first would be."""
    rows = [row for seed in (0, 1) for row in core(seed)]
    stopped = [row["setting"]["iteration"] for row in rows if row["method"] == "early-stopping" and row["seed"] == 1]
    last, first = max(stopped), min(stopped)

    def without(iteration):
        left_out = ("early-stopping", 1, {"iteration": iteration})
        return [row for row in rows if (row["method"], row["seed"], row["setting"]) != left_out]

    kept = after(read_preset(write(tmp_path / "shorter", without(last))), "rsf")
    assert kept[kept["method"] == "early-stopping"].groupby("seed")["iteration"].max().to_dict() == {
        0: last,
        1: last - 1,
    }
    with pytest.raises(UserError, match="method = early-stopping.*seed = 1.*every seed needs the same rows"):
        after(read_preset(write(tmp_path / "torn", without(first))), "rsf")


@pytest.mark.parametrize(
    ("method", "known"), [("dots", {"sft": 1.0}), ("dare", {"drop": 0.9}), ("ties", {"keep": 0.2})]
)
def test_what_newer_seeds_add_under_an_option_that_older_rows_lack_is_a_family_of_its_own(tmp_path, method, known):
    """Also where the option is what orders another method's path (`keep`); within the new family all seeds need the same."""
    added = {"dots": {"keep": 0.3}, "dare": {"mask": 0}, "ties": {"scale": 1.0}}[method]
    old = [row for alpha in (0.5, 0.75) for row in rows_of(0, method, {**known, "alpha": alpha}, model(0.5, 0.9))]
    new = [
        row for alpha in (0.5, 1.0) for row in rows_of(1, method, {**known, **added, "alpha": alpha}, model(0.5, 0.9))
    ]
    found = after(read_preset(write(tmp_path / "both", core(0) + core(1) + old + new)), "rsf")
    seeds = found[found["method"] == method].groupby("family")["seed"].unique()
    assert sorted(map(list, seeds)) == [[0], [1]]
    begun = rows_of(0, method, {**known, **added, "alpha": 0.5}, model(0.5, 0.9))
    with pytest.raises(UserError, match=f"method = {method}, .*seed = 0.*every seed needs the same rows"):
        after(read_preset(write(tmp_path / "begun", core(0) + core(1) + old + new + begun)), "rsf")
