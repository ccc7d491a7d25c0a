"""A step or two of training by the preset's launcher on this machine's hardware, on a model of three layers: what `check --launch` tries."""

import json
import tempfile
from pathlib import Path

from ..config import HubPreset
from ..config.hub import RANDOM
from ..config.tiny import tiny
from ..run import Run
from ..stages.hub.start import take
from ..training.distributed.jobs import Job
from ..training.distributed.launch import launch


def try_launch(preset: HubPreset) -> None:
    """Tune a random model of the preset's class on a block for each process, and remove it. UserError where that fails."""
    small, hardware = tiny(preset), preset.hardware
    tuned, talk = small.reward.sft, {"role": "user", "content": "a" * small.reward.sft.block}
    descent = tuned.descent.model_copy(update={"batch": hardware.processes})
    with tempfile.TemporaryDirectory(prefix="launch-") as name:
        folder = Path(name)
        take(Run(small, 0, folder), RANDOM, folder / "model")
        rows = [json.dumps({"messages": [talk, {"role": "assistant", "content": "b"}]})] * hardware.processes
        (folder / "talks.jsonl").write_text("\n".join(rows))
        job = Job(
            trainer="sft",
            settings=json.loads(tuned.model_copy(update={"descent": descent}).model_dump_json()),
            hardware=hardware,
            model=str(folder / "model"),
            seed=0,
            data=folder / "talks.jsonl",
            reward=None,
            out=folder / "tuned",
        )
        launch(job, folder / "job.json")
