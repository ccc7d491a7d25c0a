"""What lies beside the weights and goes into the output: configuration, tokenizer, chat templates, licence, code if wanted."""

import json
import re
from pathlib import Path

from ...errors import UserError
from ...models.folder import ModelFolder, read_json
from ...models.safetensors import Source

# Copied are configurations and all that a tokenizer of transformers may consist of, as its own constants name it.
_KINDS = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm", ".bpe", ".codes", ".tokenizer")
_TEMPLATES = "additional_chat_templates"  # a folder of .jinja
_STARTS = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "tokenizer.model")
_RESULTS = ("trainer_state.json", "averaging.json", "all_results.json", "train_results.json")
_VOCABULARY = re.compile(
    r"(tokenizer|tekken)\.json|dict\.txt|.*(vocab|tokenizer\.model).*|.*\.(model|spm|tiktoken|codes|tokenizer)"
)
_TOKENIZER = re.compile(rf"(tokenizer|merges|special_tokens|added_tokens|chat_template|{_TEMPLATES}).*")


def is_copied(name: str, code: bool = False) -> bool:
    """Whether a file of this name goes into the output."""
    kinds = (*_KINDS, ".py") if code else _KINDS
    return (
        name not in _RESULTS and not name.endswith(".index.json") and (name.endswith(kinds) or name.startswith(_STARTS))
    )


def decides(name: str) -> bool:
    """Whether a file of this name decides what a model is, or what it reads."""
    own = name in ("config.json", "adapter_config.json") or name.endswith((".safetensors", ".jinja"))
    return own or bool(_VOCABULARY.fullmatch(name) or _TOKENIZER.fullmatch(name))


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has a vocabulary of its own; theta_0's serves where theta has none."""
    return any(_VOCABULARY.fullmatch(file.name) for file in folder.iterdir())


def files_beside(sources: list[ModelFolder], base: ModelFolder, code: bool) -> tuple[dict[str, Source], list[str]]:
    """Name in the output -> the file to copy, of the first source that has it; the tokenizer else from theta_0; notes.

    code: whether Python files are copied too.
    """
    found: dict[str, Source] = {}
    notes = []
    for source in sources:
        own = _files(source)
        if len(sources) > 1 and source.is_adapter:
            own = {name: file for name, file in own.items() if name not in ("config.json", "adapter_config.json")}
        found |= {name: Source(file.resolve()) for name, file in own.items() if is_copied(file.name, code)} | found
        scripts = ", ".join(repr(name) for name in own if name.endswith(".py"))
        if scripts and code:
            notes.append(f"Code of {source.name} was copied: {scripts}.")
        elif scripts:
            notes.append(f"Code of {source.name} was left out ({scripts}); --with-code copies it.")
    if not any(map(_VOCABULARY.fullmatch, found)):
        own = {n: f for n, f in _files(base).items() if _VOCABULARY.fullmatch(n) or _TOKENIZER.fullmatch(n)}
        found |= {name: Source(file.resolve()) for name, file in own.items()} | found
        notes.append("The tokenizer is theta-0's: theta has none." if own else "Neither model has a tokenizer.")
    return found, notes


def check_links(folder: ModelFolder) -> None:
    """UserError for a file of the model that is a link, but neither into the folder nor to the blobs of a hub's cache."""
    for file in _files(folder).values():
        target = file.resolve()
        cached = target.parent.name == "blobs" and target.parents[1].name.startswith("models--")
        if not cached and not target.is_relative_to(folder.path.resolve()):
            raise UserError(
                f"{file.name} of {folder.name} ({folder.path}) is a link to {str(target)!r}, outside of the folder; "
                "put the file itself there."
            )


def write_beside(files: dict[str, Source], settings: dict, folder: Path) -> None:
    """Copy the files into `folder`, config.json with other settings (None: left out)."""
    for name, source in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        source.copy_to(folder / name)
    config = folder / "config.json"
    if config.is_file() and settings:
        content = read_json(config)
        nested = content.get("text_config")
        inner = {key: value for key, value in settings.items() if isinstance(nested, dict) and key in nested}
        changed = content | {key: value for key, value in settings.items() if key in content or key not in inner}
        changed |= {"text_config": nested | inner} if inner else {}
        changed = {key: value for key, value in changed.items() if key not in settings or value is not None}
        if changed != content:
            config.write_text(json.dumps(changed, indent=2) + "\n", "utf-8")


def _files(folder: ModelFolder) -> dict[str, Path]:
    """Name within the folder -> file, of all that can be part of a model."""
    found = sorted([*folder.path.iterdir(), *(folder.path / _TEMPLATES).glob("*.jinja")])
    names = {str(file.relative_to(folder.path)): file for file in found}
    weights = (".safetensors", ".index.json")
    return {n: f for n, f in names.items() if (is_copied(f.name, code=True) or n.endswith(weights)) and f.is_file()}
