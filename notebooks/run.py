"""Convert notebooks/NAME.py (the source) to notebooks/NAME.ipynb and execute it.

    python notebooks/run.py [NAME ...] [--to FOLDER] [--jobs N]     all that are on PRESET where no name is given

What changes from run to run (times, random cell ids, how output was cut into pieces) is taken out, so that
the same input gives the same bytes. A notebook appears whole or not at all.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
# `llm` and `theory` are those of this checkout, for the kernels too, which start in this folder.
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))

from llm.config import load_preset
from llm.errors import UserError, told_in_a_sentence
from llm.files import written


def names() -> list[str]:
    """All notebook sources: the files here that begin with a cell."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.read_text().startswith("# %%"))


OF_NO_PRESET = {"drawings", "theory", "your_models"}  # they draw what no preset's rows change


def wanted() -> list[str]:
    """The notebooks on the preset asked for by PRESET: all of the microcosm's; of any other those that draw its rows."""
    return [name for name in names() if preset() == "microcosm" or name not in OF_NO_PRESET]


def preset() -> str:
    """The name of the preset asked for."""
    return load_preset(os.environ.get("PRESET") or "microcosm").name


def make_preset_path_absolute() -> None:
    """Where PRESET is the path of a file: kernels start in another folder, where a relative one leads nowhere."""
    if Path(asked := os.environ.get("PRESET", "")).is_file():
        os.environ["PRESET"] = str(Path(asked).resolve())


def convert(name: str) -> "NotebookNode":
    """The notebook of a source, without outputs."""
    import jupytext
    import nbformat

    notebook = jupytext.read(HERE / f"{name}.py", fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{name}-{number}"
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: "NotebookNode") -> "NotebookNode":
    """Run all cells in the folder of the notebooks; an error in a cell is raised with its traceback."""
    from nbclient import NotebookClient

    client = NotebookClient(notebook, timeout=None, kernel_name="python3")
    client.resources = {"metadata": {"path": HERE}}
    client.extra_arguments = ["--log-level=ERROR"]
    client.execute()
    return steady(notebook)


def steady(notebook: "NotebookNode") -> "NotebookNode":
    """Take out what differs between two runs of the same notebook, in place."""
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list["NotebookNode"]) -> list["NotebookNode"]:
    """One output a stream, at the place of its first piece."""
    kept: dict[object, NotebookNode] = {}
    for number, output in enumerate(outputs):
        key = output.name if output.output_type == "stream" else number
        if key in kept:
            kept[key].text += output.text
        else:
            kept[key] = output
    return list(kept.values())


def write(notebook: "NotebookNode", path: Path) -> None:
    import nbformat

    with written(path) as aside:
        nbformat.write(notebook, aside)


def make(name: str, to: Path) -> tuple[str, float]:
    """Execute a notebook into a folder; its name, and the processor seconds of its kernel."""
    before = sum(os.times()[2:4])  # of children that have ended
    write(execute(convert(name)), to / f"{name}.ipynb")
    return name, sum(os.times()[2:4]) - before


def make_all(wanted: list[str], to: Path, jobs: int) -> dict[str, float]:
    """Several at a time, in processes of their own; the first error ends it once those that run are done. Name -> processor seconds."""
    seconds = {}
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=len(wanted), unit="notebook") as bar:
        try:
            for done in as_completed([pool.submit(make, name, to) for name in wanted]):
                name, seconds[name] = done.result()
                bar.set_description(name)
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return seconds


@told_in_a_sentence
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="notebooks to run, without .py (all that are on PRESET)"
    )
    parser.add_argument("--to", type=Path, default=HERE, help="folder of the executed notebooks (here)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks at a time (1)")
    asked = parser.parse_args()
    make_preset_path_absolute()
    unknown = sorted(set(asked.names) - set(names()))
    if unknown:
        raise UserError(f"there is no notebook {unknown[0]!r}; allowed are {', '.join(names())}")
    others = preset() != "microcosm" or bool(os.environ.get("RESULTS"))
    if others and (asked.to.resolve() == HERE or not os.environ.get("FIGURES")):
        raise UserError(
            "notebooks and figures hold those of the committed rows of preset microcosm; give other rows other folders, by --to and FIGURES"
        )
    if asked.jobs < 1:
        raise UserError(f"--jobs = {asked.jobs} is not allowed; allowed are whole numbers from 1")
    seconds = make_all(asked.names or wanted(), asked.to, asked.jobs)
    told = ", ".join(f"{name} {took:.0f}" for name, took in sorted(seconds.items(), key=lambda one: -one[1]))
    print(f"Processor seconds: {sum(seconds.values()):.0f}, of which {told}")


if __name__ == "__main__":
    main()
