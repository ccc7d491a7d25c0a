"""DPO with TRL (`pip install trl`), and at its end the alignment tax of what came out: a callback for any trainer of transformers' kind.

    python examples/trl_tax.py --model sft/ --data pairs.jsonl --tasks items.jsonl --prompts prompts.jsonl --out dpo/

--model is a folder or a model in the hub's cache; pairs.jsonl has lines {"prompt", "chosen", "rejected"}. dpo/theta is the trained model, dpo/tax/report.html the page.
"""

import argparse
from pathlib import Path

import torch
from alignment_tax.llm.averaging.ama.settings import Sources
from alignment_tax.llm.errors import UserError
from alignment_tax.llm.evaluation.benchmarks.harness import check_folder
from alignment_tax.llm.evaluation.measuring import tasks_of
from alignment_tax.llm.evaluation.tax.run import TaxSettings, tax_files
from alignment_tax.llm.models.cache import local_model
from alignment_tax.llm.models.folder import read_folder
from transformers import TrainerCallback


class TaxCallback(TrainerCallback):
    """Saves the trained model as `out`/theta, and measures its tax against the folder theta_0, into `out`/tax.

    settings: `TaxSettings` (docs/tax.yaml). prompts, reward_model, scorer: as for `tax_files`. Models may be in the hub's cache
    (ORG/NAME). Raises UserError at once for what would be refused when training ends.
    """

    def __init__(
        self,
        theta_0: Path | str,
        out: Path,
        settings: TaxSettings,
        prompts: Path | None = None,
        reward_model: Path | str | None = None,
        scorer=None,
    ):
        if (out / "tax").exists():
            raise UserError(f"out is {str(out)!r}, which holds a tax; give a new folder.")
        self.theta_0, self.out, self.settings = local_model(theta_0, "theta_0"), out, settings
        self.reward_model = reward_model and local_model(reward_model, "reward_model")
        self.prompts, self.scorer = prompts, scorer
        check_folder(self.theta_0)
        if self.reward_model:
            read_folder(self.reward_model, "reward_model")
        given = Sources(self.theta_0, self.theta_0, prompts=prompts)
        tasks_of(
            given, settings, torch.device("cpu"), scorer or self.reward_model
        )  # reads all files; nothing is scored
        self.verdicts: list[str] = []

    def on_train_end(self, args, state, control, model=None, processing_class=None, **others):
        if not state.is_world_process_zero:
            return
        theta = self.out / "theta"
        model.save_pretrained(theta)
        processing_class.save_pretrained(theta)
        sources = Sources(self.theta_0, theta, prompts=self.prompts, reward_model=self.reward_model)
        self.verdicts = tax_files(sources, self.out / "tax", self.settings, scorer=self.scorer)
        print(*self.verdicts, f"wrote {self.out / 'tax' / 'report.html'}", sep="\n")


def main(arguments: list[str] | None = None) -> TaxCallback:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    for name in ("data", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--tasks", default="", help="comma-separated, as for `alignment-tax tax`")
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--steps", type=int, default=-1, help="of training; all of one epoch by default")
    given = parser.parse_args(arguments)
    settings = TaxSettings(tasks=tuple(filter(None, given.tasks.split(","))), rlhf="dpo")
    try:
        callback = TaxCallback(given.model, given.out, settings, given.prompts)
    except UserError as error:
        parser.error(str(error))
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    pairs = load_dataset("json", data_files=str(given.data), split="train", cache_dir=str(given.out / "cache"))
    on_gpu = torch.cuda.is_available()
    config = DPOConfig(
        str(given.out / "trainer"),
        max_steps=given.steps,
        num_train_epochs=1,
        bf16=on_gpu,
        report_to="none",
        save_strategy="no",
    )
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(callback.theta_0),
        args=config,
        train_dataset=pairs,
        processing_class=AutoTokenizer.from_pretrained(callback.theta_0),
        callbacks=[callback],
    )
    trainer.train()
    return callback


if __name__ == "__main__":
    main()
