"""The regular expressions of an adapter's configuration, matched as peft does it but in bounded time."""

import json
import re
import sys

from ...errors import UserError, first_line
from ...models.folder import ModelFolder

_PLAIN = re.compile(r"\^?[\w.]+\$?")  # matched in no time; others get `_PATIENCE` seconds in a process of their own
_PATIENCE = 3.0
_LONGEST = 10_000  # letters
_MATCH = """
import json, re, sys
patterns, names = json.load(sys.stdin)
print(json.dumps([[bool(re.match(pattern, name)) for name in names] for pattern in patterns]))
"""


def module_settings(base: ModelFolder, adapter: ModelFolder, modules: list[str]) -> dict[str, tuple[object, object]]:
    """Module -> its own rank and alpha, if a pattern of the configuration fits its name, else the common ones.

    UserError for a pattern that is none, or that takes too long on the names of these or of the base's modules.
    """
    own = {key: adapter.config.get(f"{key}_pattern") or {} for key in ("rank", "alpha")}
    if not all(isinstance(patterns, dict) for patterns in own.values()):
        raise UserError(f"rank_pattern or alpha_pattern of {adapter.name} is no object of patterns with numbers.")
    others = [adapter.config.get(key) for key in ("target_modules", "exclude_modules", "layers_pattern")]
    ends = {pattern: rf"(.*\.)?({pattern})$" for patterns in own.values() for pattern in patterns}
    names = dict.fromkeys([*modules, *(name.rpartition(".")[0] for name in base.tensors)])
    fits = _matches({pattern: pattern for pattern in others if isinstance(pattern, str)} | ends, list(names))

    def setting(module: str, key: str, common: str) -> object:
        found = (value for pattern, value in own[key].items() if module in fits[pattern])
        return next(found, adapter.config.get(common))

    return {module: (setting(module, "rank", "r"), setting(module, "alpha", "lora_alpha")) for module in modules}


def _matches(patterns: dict[str, str], names: list[str]) -> dict[str, set[str]]:
    """Key -> those of the names whose start the key's pattern fits."""
    import subprocess

    for key, pattern in patterns.items():
        try:
            if len(pattern) > _LONGEST:
                raise OverflowError(f"it has {len(pattern)} letters")
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise UserError(
                f"adapter_config.json has {key!r:.80}, which is no pattern ({first_line(error)})."
            ) from None
    slow = [key for key in patterns if not _PLAIN.fullmatch(key)]
    found = {key: {name for name in names if re.match(patterns[key], name)} for key in patterns if key not in slow}
    if slow:
        question = json.dumps([[patterns[key] for key in slow], names])
        command = [sys.executable, "-I", "-S", "-c", _MATCH]
        try:
            run = subprocess.run(command, input=question, capture_output=True, text=True, timeout=_PATIENCE, check=True)
        except subprocess.SubprocessError:
            listed = ", ".join(map(repr, slow))
            raise UserError(f"adapter_config.json has patterns that take too long: {listed}.") from None
        for key, fits in zip(slow, json.loads(run.stdout), strict=True):
            found[key] = {name for name, fit in zip(names, fits, strict=True) if fit}
    return found
