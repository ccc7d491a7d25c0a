"""Fitted classifiers come near the vote weights; the tables are what the code computes. Seeds: 0 to 3."""

import csv
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from typer.testing import CliRunner

import theory
from theory.__main__ import ONE_THREAD, app
from theory.model import same_labels
from theory.monte_carlo import orthonormal_features, sample_features
from theory.tables import TABLES, proposition_rows
from theory.trained import Setting, _log_sum_exp, fit_classifier, trained_accuracies
from theory.write import write_csv, write_table

RESULTS = Path(__file__).parents[2] / "results" / "theory"
EXACT = {"single": ([6], [1]), "weights": ([4, 4], [1, 4]), "outputs": ([4, 4], [1, 2])}


def test_the_fitted_weights_point_along_the_sums_of_the_features_centres():
    """w(k) is parallel to sum_i mu_i(k) up to a term common to all classes, the paper's formula for w."""
    rng = np.random.default_rng(0)
    centres = orthonormal_features(4, 3, rng)
    right = rng.integers(3, size=20_000)
    x = sample_features(centres, right, np.arange(3), 0.6, 0.01, rng).sum(axis=1)
    w = fit_classifier(x, right, 3, ridge=1e-3)
    ideal = centres.sum(axis=0) - centres.sum(axis=0).mean(axis=0)
    centred = w - w.mean(axis=0)
    cosine = (centred * ideal).sum() / np.linalg.norm(centred) / np.linalg.norm(ideal)
    assert cosine > 0.995


def test_the_fit_is_a_minimum():
    """Any small step away from it costs."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 5)), rng.integers(3, size=200)
    w = fit_classifier(x, y, 3, ridge=0.01)

    def loss(w):
        scores = x @ w.T
        return (np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(200), y]).mean() + 0.01 * (w**2).sum()

    for _ in range(20):
        step = rng.normal(size=w.shape)
        assert loss(w + 1e-2 * step / np.linalg.norm(step)) > loss(w)


def test_the_loss_takes_scipys_logarithm_of_sums_to_the_last_bit():
    rng = np.random.default_rng(0)
    for size, scale in product((2, 4, 9), (0, 1e-3, 1, 40, 800)):
        scores = np.round(scale * rng.normal(size=(size, 500)), 1 if scale == 1 else 12)  # ties at the top, too
        np.testing.assert_array_equal(_log_sum_exp(scores), logsumexp(scores, axis=0))


def test_a_table_has_one_thread_in_a_process_of_its_own(tmp_path):
    """Set before numpy is loaded there, unless the caller has set it."""
    code = "import os, theory.__main__ as m, multiprocessing as s; m.TABLES.clear(); m.app(['--out', '.'], standalone_mode=False);"
    code += "pool = m.ProcessPoolExecutor(1, s.get_context('spawn')); print(*pool.map(os.getenv, m.ONE_THREAD))"
    environment = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    environment |= {"PYTHONPATH": str(RESULTS.parents[1]), "MKL_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert done.stdout.split() == ["1", "1", "2"]


def test_the_command_writes_a_table_in_a_spawned_process(tmp_path):
    """As `python -m theory` runs, whose functions no spawned process can import; of all tables but one that takes no time."""
    code = (
        "import runpy, sys, theory.tables as t; [t.TABLES.pop(name) for name in [*t.TABLES] if name != 'proposition'];"
    )
    code += (
        "sys.argv = ['theory', '--out', sys.argv[1]]; runpy.run_module('theory', run_name='__main__', alter_sys=True)"
    )
    environment = os.environ | {"PYTHONPATH": str(RESULTS.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.iterdir()
    written = made.read_bytes()
    write_table("proposition", tmp_path, 0)
    assert made.name == "proposition.csv" and made.read_bytes() == written


def test_trained_classifiers_have_the_exact_accuracies_when_noise_is_small_and_samples_are_many():
    fitted = trained_accuracies(same_labels(6, 4, 4), Setting(0.75, 0.01, 8000), 0.5, 20_000, np.random.default_rng(2))
    for model, groups in EXACT.items():
        accuracy, stderr = fitted[model]
        assert abs(accuracy - theory.exact_accuracy(*groups, 0.75, 4)) < 0.012 + 3 * stderr
    assert fitted["outputs"][0] > fitted["single"][0] + 0.02
    assert fitted["weights"][0] < fitted["outputs"][0] - 0.02


def test_few_samples_and_much_noise_take_the_trained_classifiers_away_from_the_theory():
    rng = np.random.default_rng(3)
    tasks, exact = same_labels(6, 4, 4), theory.exact_accuracy([6], [1], 0.75, 4)
    errors = [
        exact - trained_accuracies(tasks, Setting(0.75, sigma, n_train), 0.5, 5_000, rng)["single"][0]
        for sigma, n_train in ((0.0, 4000), (0.0, 40), (0.5, 4000))
    ]
    assert abs(errors[0]) < 0.03 < min(errors[1:])


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((1.5, 0.1, 10), "p must be"),
        ((0.5, -0.1, 10), "sigma must be"),
        ((0.5, 0.1, 0), "n_train must be an integer of at least 1"),
    ],
)
def test_bad_settings_of_training_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Setting(*arguments)


def test_every_table_is_committed_whole_and_small():
    assert {path.stem for path in RESULTS.glob("*.csv")} == set(TABLES)
    for path in RESULTS.glob("*.csv"):
        rows = list(csv.DictReader(path.open()))
        assert path.stat().st_size < 200_000 and len(rows) > 10
        assert not {"nan", "inf", "-inf"} & {value for row in rows for value in row.values()}


def test_the_committed_proposition_table_is_what_the_code_computes(tmp_path):
    write_csv(tmp_path / "again.csv", proposition_rows(np.random.default_rng(0)))
    again, committed = (
        list(csv.DictReader(path.open())) for path in (tmp_path / "again.csv", RESULTS / "proposition.csv")
    )
    assert [list(row) for row in again] == [list(row) for row in committed]
    for new, old in zip(again, committed):
        for key in new:
            if key in ("version", "method"):
                assert new[key] == old[key]
            else:
                assert float(new[key]) == pytest.approx(float(old[key]), abs=1e-7)


def test_the_command_names_its_options_and_refuses_a_negative_seed():
    runner = CliRunner()
    assert runner.invoke(app, ["--help"]).exit_code == 0
    refused = runner.invoke(app, ["--seed", "-1"])
    assert refused.exit_code != 0 and "seed" in refused.output


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(app, ["--out", str(tmp_path / "file" / "tables")])
    assert refused.exit_code == 2 and "cannot be written" in refused.output


def test_everything_public_works_after_one_import():
    for name in theory.__all__:
        assert getattr(theory, name) is not None
    assert theory.layers.Layer(10, 0.5, 0.5).counts == (5.0, 5.0, 5.0)
    assert theory.front(theory.Tasks(3, 4, 4, 2, 3), "weights", [0.5], 0.5).shape == (1, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: theory.exact_accuracy([10**9], [1], 0.5, 5),
        lambda: theory.simulate_features(
            same_labels(10**6, 0, 5), "weights", 0.5, 0.5, 0.1, 10, np.random.default_rng(0)
        ),
        lambda: trained_accuracies(
            same_labels(50, 10, 10**5), Setting(0.5, 0.1, 100), 0.5, 10, np.random.default_rng(0)
        ),
        lambda: trained_accuracies(
            same_labels(50, 10, 3), Setting(0.5, 0.1, 10**12), 0.5, 10, np.random.default_rng(0)
        ),
    ],
)
def test_sizes_that_cannot_fit_are_refused_at_once(call):
    with pytest.raises(ValueError, match="must be at most"):
        call()


def test_importing_theory_loads_neither_torch_nor_development_tools():
    unwanted = ("torch", "scipy.stats", "mpmath", "typer", "pandas", "llm")
    code = f"import sys, theory; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=RESULTS.parents[1]
    )
    assert done.stdout.strip() == "[]"
