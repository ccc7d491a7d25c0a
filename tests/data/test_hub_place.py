"""Whole data sets, read through `datasets` from local folders, with a few rows of each in its own format."""

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from llm.data.hub import alpaca_eval, hh_rlhf, sharegpt
from llm.data.hub.place import Place
from llm.data.records import ComparisonItem, Preference, Turn
from llm.errors import UserError

DATA = Path(__file__).parents[1] / "files"


@pytest.fixture
def place(tmp_path):
    """The committed rows, with a cache of the test's own."""
    return Place(DATA, tmp_path / "cache")


@pytest.fixture
def copied(tmp_path):
    """A copy of the committed rows to change."""
    shutil.copytree(DATA, tmp_path / "data")
    return Place(tmp_path / "data", tmp_path / "cache")


def test_hh_rlhf_has_its_four_parts_in_order(place):
    train, test = (hh_rlhf.preferences(split, place) for split in ("train", "test"))
    assert train.left_out == Counter(
        {
            "chosen and rejected differ in the prompt": 1,
            "empty reply": 1,
            "identical replies": 1,
            "two turns of one side in a row": 1,
            "does not begin with the user": 1,
            "text before the first turn": 1,
            "rejected is no text": 1,
        }
    )
    assert (train.rows, len(train.records), test.rows, len(test.records)) == (21, 14, 9, 8)
    assert train.records[0].prompt == (Turn("user", "How do I keep basil alive on a windowsill?"),)
    assert train.records[-1] == Preference(
        (Turn("user", "Should I tell a white lie about the cake?"),),
        "You could thank for the work and say honestly what you liked about it.",
        "Lie.",
    )
    assert test.summary() == "hh-rlhf, test: 8 records from 9 rows; left out 1: no final assistant turn 1"
    harmless = hh_rlhf.preferences("train", place, parts=["harmless-base"])
    assert harmless.records == train.records[-3:]


def test_packed_files_are_read_like_unpacked_ones(place, copied):
    for path in copied.data_dir.glob("hh-rlhf/*/*.jsonl"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    packed = hh_rlhf.preferences("train", copied)
    assert packed == hh_rlhf.preferences("train", place)


def test_sharegpt(place):
    parsed = sharegpt.conversations(place)
    assert (parsed.rows, len(parsed.records)) == (18, 8)
    assert parsed.left_out == Counter(
        {
            "does not begin with the user": 2,
            "no final assistant turn": 1,
            "unknown role": 1,
            "two turns of one side in a row": 1,
            "empty reply": 1,
            "empty turn": 1,
            "value is no text": 1,
            "system turn after the first": 1,
            "conversations is no list of turns": 1,
        }
    )
    assert [turn.role for turn in parsed.records[2].prompt] == ["system", "user"]
    assert parsed.records[1].reply == "Reykjavík, by some 28 degrees."


def test_alpaca_eval(place):
    parsed = alpaca_eval.items(place)
    assert parsed.summary() == "alpaca-eval: 5 records from 6 rows; left out 1: empty reply 1"
    assert parsed.records[1] == ComparisonItem(
        "Name three birds that cannot fly. ", "Ostriches, penguins and kiwis.", "koala"
    )


def test_what_is_converted_is_kept_in_the_chosen_folder_and_a_changed_file_is_read_anew(copied):
    assert len(alpaca_eval.items(copied).records) == 5
    assert list(copied.cache.glob("json/**/*.arrow"))
    path = copied.data_dir / "alpaca-eval" / alpaca_eval.FILE
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    assert len(alpaca_eval.items(copied).records) == 2


def test_missing_folders_and_files_are_named(copied):
    shutil.rmtree(copied.data_dir / "sharegpt")
    with pytest.raises(
        UserError, match="^data_dir = [^ ]*data has no folder sharegpt; needed are the files of anon8231489123/"
    ):
        sharegpt.conversations(copied)
    (copied.data_dir / "sharegpt").mkdir()
    with pytest.raises(UserError, match=f"^folder [^ ]*sharegpt has no file {sharegpt.FILE}; needed are the files of "):
        sharegpt.conversations(copied)
    (copied.data_dir / "hh-rlhf/harmless-base/test.jsonl").unlink()
    with pytest.raises(
        UserError, match="has no file harmless-base/test.jsonl.gz; needed are the files of Anthropic/hh-rlhf"
    ):
        hh_rlhf.preferences("test", copied)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "harmless-base/test.jsonl is empty; needed are rows with the columns chosen, rejected."),
        (b'{"prompt": "a", "chosen": "b"}\n', "hh-rlhf has the columns prompt, chosen; needed are chosen, rejected."),
        (b"\n", r"test.jsonl cannot be read \(.* no data!\); needed are rows in JSON."),
        (gzip.compress(b"", mtime=0), r"test.jsonl cannot be read \(no rows\); needed are rows in JSON."),
        (b'{"chosen": "a", \n', r"test.jsonl cannot be read \(.*\); needed are rows in JSON."),
    ],
)
def test_files_without_the_rows_needed_are_refused_in_one_sentence(copied, content, sentence):
    (copied.data_dir / "hh-rlhf/harmless-base/test.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=f"^[^\n]*{sentence}$"):
        hh_rlhf.preferences("test", copied, parts=["harmless-base"])


def test_on_the_hub_the_same_files_are_asked_for(tmp_path, monkeypatch):
    asked = []
    row = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    monkeypatch.setattr("datasets.load_dataset", lambda kind, **given: asked.append((kind, given)) or [row])
    for part in hh_rlhf.PARTS[:2]:
        (tmp_path / part).mkdir()
        for split in ("train", "test"):
            (tmp_path / part / f"{split}.jsonl.gz").write_text("{}")
    fetched = []

    def snapshot(name, repo_type, allow_patterns):
        fetched.append((name, repo_type, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    hh_rlhf.preferences("test", Place(cache=tmp_path), parts=hh_rlhf.PARTS[:2])
    hh_rlhf.preferences("train", Place(), parts=hh_rlhf.PARTS[:1])
    names = [f"{part}/test.jsonl.gz" for part in ("helpful-base", "helpful-online")], ["helpful-base/train.jsonl.gz"]
    assert fetched == [("Anthropic/hh-rlhf", "dataset", some) for some in names]
    files, train = ([str(tmp_path / name) for name in some] for some in names)
    assert asked == [
        ("json", {"data_files": files, "split": "train", "cache_dir": str(tmp_path)}),
        ("json", {"data_files": train, "split": "train", "cache_dir": None}),
    ]


@pytest.mark.parametrize("read", [alpaca_eval.items, sharegpt.conversations])
def test_without_the_hub_the_sentence_names_the_data_set_and_the_way_round(read, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError,
        match=r"^data set [\w/-]+ cannot be read from the hub \([^\n]*HF_HUB_OFFLINE[^\n]*\); "
        r"give a data_dir that holds its files in the folder [\w-]+\.$",
    ):
        read(Place(None, tmp_path))
