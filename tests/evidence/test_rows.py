"""Result rows: what is written is what is read, and every kind of bad row is one sentence that names it."""

import json
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import UserError
from llm.evidence.rows import collect_rows, parse_row, read_rows, setting_key, write_rows

GOOD = {"preset": "microcosm", "seed": 0, "rlhf": "rsf", "method": "ma", "setting": {"alpha": 0.2}, "metric": "qa"}
GOOD |= {"value": 0.9, "stderr": 0.01, "n": 400, "split": "test", "seconds": 1.5, "version": "0.1.0"}


def row(**changes):
    return {**GOOD, **changes}


def grid(seeds=(0, 1), alphas=(0.0, 0.5, 1.0), metrics=("qa", "reward")):
    return [
        row(seed=seed, setting={"alpha": alpha}, metric=metric, value=seed + alpha)
        for seed in seeds
        for alpha in alphas
        for metric in metrics
    ]


floats = st.floats(allow_nan=False, allow_infinity=False)


@given(value=floats, stderr=st.none() | floats.map(abs), n=st.integers(1, 10**9), alpha=floats)
def test_a_written_row_reads_back_exactly(tmp_path_factory, value, stderr, n, alpha):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, [row(value=value, stderr=stderr, n=n, setting={"alpha": alpha, "part": "input"})])
    (back,) = read_rows(path).to_dict("records")
    assert back["value"] == value
    assert back["n"] == n
    assert back["setting"] == {"alpha": alpha, "part": "input"}
    assert math.isnan(back["stderr"]) if stderr is None else back["stderr"] == stderr


@given(st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 5)), min_size=1, max_size=30))
def test_items_read_back_exactly_and_rows_without_them_have_no_such_key(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, [row(value=sum(items) / len(items), n=len(items), items=items), row(metric="bleu")])
    assert ["items" in line for line in path.read_text().splitlines()] == [False, True]
    assert list(read_rows(path)["items"]) == [None, items]


@pytest.mark.parametrize("items", [[], [0.9], [0.9, 0.8], [math.nan, 0.9], "0.9"])
def test_items_that_are_not_the_values_are_refused(items):
    with pytest.raises(
        UserError,
        match="^here: items = .* is not allowed; it must be a list of n finite numbers whose mean is the value",
    ):
        parse_row(row(n=2, items=items), "here")


@given(st.permutations(grid()))
def test_the_order_of_rows_does_not_change_the_bytes(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "a.jsonl", grid())
    write_rows(folder / "b.jsonl", rows)
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()


def test_writing_leaves_nothing_beside_the_file_and_a_bad_row_leaves_the_old_file(tmp_path):
    write_rows(tmp_path / "rows.jsonl", grid())
    before = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(UserError):
        write_rows(tmp_path / "rows.jsonl", [*grid(), row(value=math.nan)])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    assert (tmp_path / "rows.jsonl").read_bytes() == before


BAD = [
    ({"rlhf": "rlhf"}, "rlhf = 'rlhf'", "one of none, rsf, dpo, ppo"),
    ({"value": math.nan}, "value = nan", "a finite number"),
    ({"value": math.inf}, "value = inf", "a finite number"),
    ({"value": "high"}, "value = 'high'", "a finite number"),
    ({"value": None}, "value = None", "a finite number"),
    ({"value": True}, "value = True", "a finite number"),
    ({"stderr": -0.1}, "stderr = -0.1", "a finite number >= 0, or null"),
    ({"n": 0}, "n = 0", "an integer >= 1"),
    ({"n": 2.5}, "n = 2.5", "an integer >= 1"),
    ({"seed": -1}, "seed = -1", "an integer >= 0"),
    ({"seed": "0"}, "seed = '0'", "an integer >= 0"),
    ({"metric": ""}, "metric = ''", "a non-empty string"),
    ({"preset": ""}, "preset = ''", "a text without control characters"),
    ({"preset": "<b>\x1b[31m"}, "preset = ", "a text without control characters"),
    ({"method": 3}, "method = 3", "a non-empty string"),
    ({"split": ""}, "split = ''", "a non-empty string"),
    ({"seconds": -1.0}, "seconds = -1.0", "a finite number >= 0"),
    ({"version": None}, "version = None", "a non-empty string"),
    ({"setting": "alpha"}, "setting = 'alpha'", "an object"),
    ({"setting": {"alpha": math.nan}}, "setting = {'alpha': nan}", "an object with finite JSON values"),
    ({"beta": 1}, "beta = 1", "unknown key; allowed are preset, seed"),
]


@pytest.mark.parametrize(("changes", "named", "allowed"), BAD)
def test_a_bad_row_is_one_sentence_with_file_line_key_value_and_what_is_allowed(tmp_path, changes, named, allowed):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(row(**changes)) + "\n")
    with pytest.raises(UserError) as error:
        read_rows(path)
    sentence = str(error.value)
    assert sentence.startswith(f"{path}, line 2: ")
    assert named in sentence
    assert allowed in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("key", GOOD)
def test_a_row_without_one_of_its_keys_is_named(key):
    with pytest.raises(UserError, match=f"here: the key {key} is missing; it must be"):
        parse_row({name: value for name, value in GOOD.items() if name != key}, "here")


def written(row):
    """The line as `write_rows` writes one, whatever the row holds."""
    return json.dumps(row, separators=(",", ":")) + "\n"


@pytest.mark.parametrize(("changes", "named", "allowed"), BAD)
def test_a_bad_row_is_refused_in_the_spelling_that_write_rows_has(tmp_path, changes, named, allowed):
    path = tmp_path / "rows.jsonl"
    path.write_text(written(GOOD) + written(row(**changes)))
    with pytest.raises(UserError) as error:
        read_rows(path)
    assert named in str(error.value) and allowed in str(error.value)


def test_lines_as_they_are_written_need_no_parser_of_our_own_and_say_the_same(tmp_path, monkeypatch):
    rows = [row(seed=seed, value=value) for seed, value in enumerate((0.5, -1e-7, 1e16, 123456.78901234567, 0.1 + 0.2))]
    rows.append(row(seed=9, setting={"alpha": 0.30000000000000004, "part": "Eingänge"}, groups="AAAAPA=="))
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "spaced").mkdir()
    (tmp_path / "spaced" / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    slowly = read_rows(tmp_path / "spaced")
    monkeypatch.setattr("llm.evidence.rows.parse_json", lambda _: pytest.fail("parsed by hand"))
    pd.testing.assert_frame_equal(read_rows(tmp_path), slowly)


@pytest.mark.parametrize("key", ["n", "seed"])
def test_a_long_number_is_refused_in_either_spelling(tmp_path, key):
    path = tmp_path / "rows.jsonl"
    for spelt in (written(row(**{key: 10**18})), json.dumps(row(**{key: 10**18})) + "\n"):
        path.write_text(spelt)
        with pytest.raises(UserError, match="a whole number has 19 digits; allowed are 18"):
            read_rows(path)


@pytest.mark.parametrize("line", ['{"preset": "micro', "", "[1, 2]", "3", "\x00"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n" + json.dumps(row(seed=1)) + "\n")
    with pytest.raises(UserError, match="line 2: .* (must be one JSON object|a row is an object)"):
        read_rows(path)


DAMAGED = {
    "no UTF-8": (lambda line: line + b"\xff\n", "line 1: .* is no JSON .'utf-8' codec can't decode byte 0xff"),
    "utf-16": (lambda line: line.decode().encode("utf-16"), "line 1: .* is no JSON .'utf-8' codec can't decode byte"),
    "a key twice": (lambda line: line[:-1] + b', "value": 9.0}', "line 1: .* is no JSON .the key 'value' stands twice"),
    "a long number": (lambda line: line.replace(b'"n": 400', b'"n": ' + b"9" * 5000), "a whole number has 5000 digits"),
    "deep": (
        lambda line: line.replace(b'"setting": {', b'"setting": {"a": ' + b"[" * 600 + b"]" * 600 + b", "),
        "setting",
    ),
    "deeper": (lambda line: line.replace(b'"setting": {', b'"setting": {"a": ' + b"[" * 9000), "maximum recursion"),
    "half a character": (lambda line: line.replace(b'"rsf"', rb'"\ud800"'), "surrogates not allowed"),
    "a folder": (None, "Is a directory"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_bytes_that_are_no_rows_are_one_sentence_at_once(tmp_path, case):
    change, said = DAMAGED[case]
    line = json.dumps(GOOD).encode()
    if change is None:
        (tmp_path / "rows.jsonl").mkdir()
    else:
        assert change(line) != line
        (tmp_path / "rows.jsonl").write_bytes(change(line))
    with pytest.raises((UserError, OSError), match=said):
        read_rows(tmp_path)


def test_a_byte_order_mark_is_read_over(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert read_rows(tmp_path / "rows.jsonl").value.tolist() == [GOOD["value"]]


def test_the_same_number_twice_is_refused_in_writing_and_across_files(tmp_path):
    twice = [row(setting={"alpha": 0}), row(setting={"alpha": 0.0}, value=0.1)]
    with pytest.raises(UserError, match='two rows for .*setting = {"alpha": 0}'):
        write_rows(tmp_path / "rows.jsonl", twice)
    write_rows(tmp_path / "a.jsonl", twice[:1])
    write_rows(tmp_path / "b.jsonl", twice[1:])
    with pytest.raises(UserError, match=r"b\.jsonl, line 1: .*already there .*a\.jsonl, line 1"):
        read_rows(tmp_path)


def test_missing_and_empty_results_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.jsonl does not exist"):
        read_rows(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match="holds no rows"):
        read_rows(tmp_path)


def test_a_folder_reads_as_all_of_its_files(tmp_path):
    write_rows(tmp_path / "a.jsonl", grid(seeds=(0,)))
    write_rows(tmp_path / "b.jsonl", grid(seeds=(1,)))
    write_rows(tmp_path / "c" / "all.jsonl", grid())
    assert len(read_rows(tmp_path)) == len(read_rows(tmp_path / "c")) == len(grid())


def test_collected_files_hold_all_rows_of_their_sources(tmp_path):
    write_rows(tmp_path / "a.jsonl", grid(seeds=(0,)))
    write_rows(tmp_path / "b.jsonl", grid(seeds=(1,)))
    collect_rows([tmp_path / "b.jsonl", tmp_path / "a.jsonl"], tmp_path / "all.jsonl")
    write_rows(tmp_path / "same.jsonl", grid())
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "same.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"c\.jsonl is no file; give \.jsonl files"):
        collect_rows([tmp_path / "a.jsonl", tmp_path / "c.jsonl"], tmp_path / "all.jsonl")
    with pytest.raises(UserError, match="two rows for"):
        collect_rows([tmp_path / "a.jsonl"] * 2, tmp_path / "all.jsonl")


def test_settings_that_mean_the_same_have_one_key():
    assert setting_key({"alpha": 0, "part": "input"}) == setting_key({"part": "input", "alpha": -0.0})
    assert setting_key({"alpha": 0.1 + 0.2}) == setting_key({"alpha": 0.3})
    assert setting_key({"alphas": {"b": 1.0, "a": 0}}) == setting_key({"alphas": {"a": 0.0, "b": 1}})
    assert setting_key({"alpha": 0.2}) != setting_key({"alpha": 0.2000001})
    assert setting_key({"flag": True}) != setting_key({"flag": 1})
