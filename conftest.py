"""Settings of all tests: repeatable hypothesis, one thread, figures drawn into a folder that goes away."""

import gc
import os
import tempfile
from pathlib import Path

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_configure(config):
    gc.disable()  # while tests are imported, there is no garbage to be found
    figures = tempfile.TemporaryDirectory(prefix="alignment-tax-figures-")
    config.add_cleanup(figures.cleanup)
    os.environ["FIGURES"] = figures.name
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Processes and notebooks that tests start import `llm` and `theory` from this checkout, wherever they run.
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(paths)))


def pytest_collection_finish():
    gc.freeze()  # nor later in what was imported
    gc.enable()
