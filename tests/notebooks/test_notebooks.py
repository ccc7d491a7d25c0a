"""Notebooks: each .ipynb is its .py executed, and the tools give the same bytes for the same input."""

import json
import os
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

import run

NOTEBOOKS = Path(run.__file__).parent
SAVE = re.compile(r'(?:style\.(?:save|write)|FOUND\.weigh)\(\w+, "([^"]+)"')


@pytest.mark.parametrize("name", run.names())
def test_each_notebook_is_its_source_with_outputs(name):
    import nbformat

    committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    source = run.convert(name)
    assert [(c.id, c.cell_type, c.source) for c in committed.cells] == [
        (c.id, c.cell_type, c.source) for c in source.cells
    ], f"{name}.ipynb is behind {name}.py: python notebooks/run.py {name}"
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any(cell.outputs for cell in code)


def test_a_notebook_runs_in_a_kernel_and_what_it_took_is_told(monkeypatch, capsys, tmp_path):
    forked = partial(ProcessPoolExecutor, mp_context=get_context("fork"))  # processes that see what is patched
    monkeypatch.setattr(run, "ProcessPoolExecutor", forked)
    monkeypatch.setattr(run, "HERE", tmp_path)
    (tmp_path / "short.py").write_text("# %% [markdown]\n# # Short\n\n# %%\n6 * 7\n")
    monkeypatch.setattr("sys.argv", ["run.py", "short", "--to", str(tmp_path / "made")])
    run.main()
    (seconds,) = re.fullmatch(r"Processor seconds: (\d+), of which short \1\n", capsys.readouterr().out).groups()
    assert int(seconds) > 0
    (cell,) = (
        one for one in json.loads((tmp_path / "made/short.ipynb").read_text())["cells"] if one["cell_type"] == "code"
    )
    assert cell["outputs"][0]["data"]["text/plain"] == ["42"]


def test_kernels_find_a_preset_that_is_a_file_though_they_start_in_another_folder(monkeypatch, tmp_path):
    (tmp_path / "own.yaml").write_text("base: microcosm\nname: own\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRESET", "own.yaml")
    run.make_preset_path_absolute()
    assert (run.preset(), Path(os.environ["PRESET"])) == ("own", tmp_path.resolve() / "own.yaml")
    assert "drawings" not in run.wanted()
    monkeypatch.setenv("PRESET", "microcosm-1")
    run.make_preset_path_absolute()
    assert (run.preset(), os.environ["PRESET"]) == ("microcosm-1", "microcosm-1")


@pytest.mark.long
@pytest.mark.parametrize("name", run.names())
def test_each_notebook_runs_in_a_kernel(name):
    """Which only long tests ask of all: test_figures.py runs their cells, and looks at what they draw."""
    run.execute(run.convert(name))


@pytest.mark.long
def test_notebooks_made_side_by_side_are_those_made_alone(tmp_path):
    run.make_all(["drawings", "drawings"], tmp_path / "two", 2)
    run.make("drawings", tmp_path)
    assert (tmp_path / "two" / "drawings.ipynb").read_bytes() == (tmp_path / "drawings.ipynb").read_bytes()


@pytest.mark.parametrize(
    ("given", "environment", "said"),
    [
        (["drawings", "--jobs", "0"], {}, "--jobs = 0 is not allowed; allowed are whole numbers from 1"),
        (["nonesuch"], {}, "there is no notebook 'nonesuch'; allowed are algorithms, "),
        (["methods"], {"PRESET": "nonesuch"}, "preset = 'nonesuch' is unknown"),
        (
            ["methods", "--to", "elsewhere"],
            {"PRESET": "microcosm-1"},
            "give other rows other folders, by --to and FIGURES",
        ),
        (["methods", "--to", "elsewhere"], {"RESULTS": "results/community"}, "give other rows other folders"),
        (["methods"], {"RESULTS": "results/community", "FIGURES": "elsewhere"}, "give other rows other folders"),
    ],
)
def test_what_cannot_be_drawn_or_would_overwrite_what_is_committed_is_refused(
    monkeypatch, capsys, given, environment, said
):
    for name in ("PRESET", "RESULTS", "FIGURES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["run.py", *given])
    monkeypatch.setattr(run, "make_all", None)  # nothing may be made
    with pytest.raises(SystemExit) as stop:
        run.main()
    told = capsys.readouterr().err
    assert stop.value.code == 2 and told.startswith("error: ") and said in told and told.count("\n") == 1


def shared(name):
    """What a committed notebook tells."""
    outputs = [
        o for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"] for o in cell.get("outputs", [])
    ]
    return "".join(line for o in outputs for line in o.get("data", {}).get("text/markdown", []))


@pytest.mark.parametrize(
    ("name", "part", "told"),
    [
        ("averaging", "MA above early stopping", "both at 2.5e-4 ({n} seeds): MA saves {} (all abilities together)"),
        (
            "real_model",
            "smollm2-135m-gpu, exploratory: MA above early stopping, log-likelihood of text",
            "averaging saves {} of the tax on",
        ),
    ],
)
def test_notebooks_tell_the_shares_that_the_ledger_tells(name, part, told):
    ledger = json.loads((NOTEBOOKS.parent / "results" / "claims.json").read_text())["claims"]
    lines = [line for claim in ledger if claim["id"] == "P1" for line in claim["lines"]]
    (line,) = [line for line in lines if line["part"] == part and line["by"] == "reward"]
    mean, low, high = (f"{100 * line[key]:.0f}" for key in ("estimate", "low", "high"))
    assert told.format(f"{mean} % [{low}, {high}]", n=len(line["per_seed"])) in shared(name)


def test_every_notebook_has_a_source():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == run.names()


@pytest.mark.parametrize("name", run.names())
def test_committed_notebooks_hold_no_paths_of_a_machine_and_no_times(name):
    text = (NOTEBOOKS / f"{name}.ipynb").read_text()
    assert "iopub.execute_input" not in text
    for path in ("/home/", "/Users/", "/root/", "/tmp/", "/work/"):
        assert path not in text


def test_every_figure_has_exactly_one_producer():
    saved = [name for source in run.names() for name in SAVE.findall((NOTEBOOKS / f"{source}.py").read_text())]
    assert sorted(saved) == sorted(set(saved))
    drawn = {path.stem for path in (NOTEBOOKS.parent / "figures").iterdir() if path.suffix in (".pdf", ".png", ".md")}
    assert drawn <= set(saved)


def test_every_figure_stands_once_in_the_index_under_its_notebook():
    page = (NOTEBOOKS.parent / "docs" / "figures.md").read_text()
    sections = re.split(r"^## \[(\w+)\]\(\.\./notebooks/\1\.ipynb\)$", page, flags=re.MULTILINE)[1:]
    listed = {}
    for notebook, text in zip(sections[::2], sections[1::2], strict=True):
        lines = re.findall(r"^\| \[([\w-]+)\]\(\.\./figures/\1\.(?:png|md)\) \| \S.* \|$", text, re.MULTILINE)
        producer = SAVE.findall((NOTEBOOKS / f"{notebook}.py").read_text())
        assert set(lines) <= set(producer), notebook
        listed[notebook] = lines
    every = [name for lines in listed.values() for name in lines]
    drawn = {path.stem for path in (NOTEBOOKS.parent / "figures").iterdir() if path.suffix in (".png", ".md")}
    assert sorted(every) == sorted(drawn)


CELLS = """# %% [markdown]
# Words.

# %%
import sys
for i in range(3):
    print(i, flush=True)
    print("to the other stream", file=sys.stderr, flush=True)
1 + 1
"""


def test_executing_twice_gives_the_same_bytes_and_joins_pieces_of_a_stream(tmp_path):
    import jupytext

    for file in ("a.ipynb", "b.ipynb"):
        notebook = jupytext.reads(CELLS, fmt="py:percent")
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
        run.write(run.execute(notebook), tmp_path / file)
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()
    outputs = json.loads((tmp_path / "a.ipynb").read_text())["cells"][1]["outputs"]
    assert ["".join(o["text"]) for o in outputs if o["output_type"] == "stream" and o["name"] == "stdout"] == [
        "0\n1\n2\n"
    ]
    assert outputs[-1]["data"]["text/plain"] == ["2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ipynb", "b.ipynb"]
