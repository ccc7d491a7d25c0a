"""Headers of safetensors files: what is accepted is what the library reads, everything else is one sentence at once."""

import json
import random
import time

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load, save

from llm.errors import UserError
from llm.models.safetensors import read_header, write_header

TENSORS = {
    "model.embed.weight": np.arange(12, dtype=np.float32).reshape(4, 3),
    "model.layers.0.w": np.ones((2, 2), np.float16),
    "model.one": np.array(1.0),
    "model.empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture(scope="module")
def good():
    return save(TENSORS, {"format": "pt"})


def _parts(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _file(raw, data):
    return len(raw).to_bytes(8, "little") + raw + data


def _verdict(path, data):
    """ "refused", or "accepted" with the very tensors that the library finds."""
    path.write_bytes(data)
    try:
        header, tensors, source = read_header(path)
    except UserError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return "refused"
    try:
        found = load(data)
    except (SafetensorError, ValueError, OverflowError) as error:
        pytest.fail(f"accepted, but the library says {error}")
    assert found.keys() == {tensor.name for tensor in tensors} and data.startswith(header) and source.size == len(data)
    for tensor in tensors:
        assert tensor.shape == found[tensor.name].shape
        assert tensor.read().tobytes() == found[tensor.name].tobytes()
    return "accepted"


def test_the_good_file_is_accepted(good, tmp_path):
    assert _verdict(tmp_path / "w.safetensors", good) == "accepted"


def test_damaged_files(good, tmp_path):
    """Bits of the header flipped, the file cut and grown, with a fixed seed."""
    rng, length = random.Random(0), int.from_bytes(good[:8], "little")
    seen = {"accepted": 0, "refused": 0}
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            data[rng.randrange(8 + length)] ^= 1 << rng.randrange(8)
        data = bytes(data)[: rng.choice([None, None, None, rng.randrange(len(data))])] + bytes(rng.choice([0, 0, 0, 7]))
        seen[_verdict(tmp_path / "w.safetensors", data)] += 1
    assert seen["refused"] > 300 and seen["accepted"] > 0


def _entry(header, **changes):
    header["model.one"] = header["model.one"] | changes


ODD = {
    "a tensor twice": lambda raw: raw[:-1] + b',"model.one":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}',
    "a key twice": lambda raw: raw.replace(b'"dtype":', b'"dtype":"F32","dtype":', 1),
    "deep": lambda raw: b"[" * 200_000 + b"]" * 200_000,
    "deep metadata": lambda raw: raw[:-1] + b',"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "metadata of numbers": lambda raw: raw.replace(b'"pt"', b"1"),
    "nested metadata": lambda raw: raw.replace(b'"pt"', b'{"a":"b"}'),
    "a number of 5,000 digits": lambda raw: raw.replace(b'"shape":[4,', b'"shape":[' + b"4" * 5000 + b","),
    "a number of 400 digits": lambda raw: raw.replace(b'"shape":[4,', b'"shape":[' + b"4" * 400 + b","),
    "many large dimensions": lambda raw: raw.replace(b'"shape":[4,', b'"shape":[' + b"4611686018427387904," * 100_000),
    "NaN": lambda raw: raw.replace(b'"pt"', b"NaN"),
    "no UTF-8": lambda raw: raw.replace(b"model.one", b"model.\xff\xfe"),
    "half a character": lambda raw: raw.replace(b"model.one", b"model.\\ud800"),
    "a line break in a name": lambda raw: raw.replace(b"model.one", b"model.\\n\\u001b"),
    "a mark before": lambda raw: b"\xef\xbb\xbf" + raw,
    "UTF-16": lambda raw: raw.decode().encode("utf-16"),
    "zeros behind": lambda raw: raw + bytes(8),
    "a fraction": lambda raw: raw.replace(b'"shape":[4,', b'"shape":[4.0,'),
    "a truth": lambda raw: raw.replace(b'"shape":[]', b'"shape":[true]'),
    "a text for a shape": lambda raw: raw.replace(b'"shape":[]', b'"shape":""'),
    "an unknown type": lambda raw: raw.replace(b'"F64"', b'"F63"'),
    "a list for a type": lambda raw: raw.replace(b'"F64"', b'["F64"]'),
    "no object": lambda raw: b'"x"',
    "nothing": lambda raw: b"  ",
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_headers_are_refused_at_once(kind, good, tmp_path):
    header, data = _parts(good)
    raw = json.dumps(header, separators=(",", ":")).encode()
    assert ODD[kind](raw) != raw
    begun = time.perf_counter()
    assert _verdict(tmp_path / "w.safetensors", _file(ODD[kind](raw), data)) == "refused"
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    "change",
    [
        lambda header: _entry(header, data_offsets=header["model.layers.0.w"]["data_offsets"]),
        lambda header: _entry(header, data_offsets=header["model.one"]["data_offsets"][::-1]),
        lambda header: _entry(header, data_offsets=[0, 2**63]),
        lambda header: _entry(header, data_offsets=[-8, 0]),
        lambda header: _entry(header, shape=[2]),
        lambda header: header.pop("model.one"),
        lambda header: header.update({"model.two": header["model.one"]}),
        lambda header: header.update({"model.empty": header["model.empty"] | {"data_offsets": [2, 2]}}),
    ],
)
def test_overlaps_and_gaps_are_refused(change, good, tmp_path):
    header, data = _parts(good)
    change(header)
    assert _verdict(tmp_path / "w.safetensors", _file(json.dumps(header).encode(), data)) == "refused"


def test_a_written_header_describes_the_data(good, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(good)
    _, tensors, _ = read_header(tmp_path / "w.safetensors")
    tensors.reverse()
    data = write_header(tensors, {"format": "pt"}) + b"".join(tensor.read().tobytes() for tensor in tensors)
    assert _verdict(tmp_path / "w.safetensors", data) == "accepted"
    assert (len(data) - sum(t.elements * t.itemsize for t in tensors)) % 8 == 0
    for name, tensor in load(data).items():
        assert np.array_equal(tensor, TENSORS[name])
