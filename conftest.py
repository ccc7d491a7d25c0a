"""Settings of all tests: repeatable hypothesis, one thread, figures drawn into a folder that goes away."""

import os
import tempfile

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_configure(config):
    figures = tempfile.TemporaryDirectory(prefix="alignment-tax-figures-")
    config.add_cleanup(figures.cleanup)
    os.environ["FIGURES"] = figures.name
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
