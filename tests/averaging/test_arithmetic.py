"""Sums of stored values with numpy: within one unit in the last place of fp64 rounded once, whatever the values."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from averaging_models import TYPES, reference, ulp, values
from llm.averaging.files import arithmetic
from llm.averaging.files.arithmetic import NotFinite, all_finite, mix, narrow
from llm.averaging.live import average

RATIOS = st.floats(0, 1) | st.sampled_from([0.0, 0.2, 0.25, 1 / 3, 0.5, 0.8, 1.0, 1e-9, 1 - 2**-53, 5e-324])


def stored(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def mixed(left: torch.Tensor, right: torch.Tensor, ratio: float) -> torch.Tensor:
    """`mix` of tensors of one type, as a tensor."""
    name = TYPES[right.dtype]
    return tensor_of(mix(stored(left), name, stored(right), name, ratio))


def tensor_of(result: np.ndarray) -> torch.Tensor:
    """Stored values as a tensor; whole numbers are bf16."""
    is_bf16 = result.dtype == np.uint16
    return torch.from_numpy(result.view(np.int16)).view(torch.bfloat16) if is_bf16 else torch.from_numpy(result)


def units(result: torch.Tensor, left: torch.Tensor, right: torch.Tensor, ratio: float) -> float:
    """The largest distance from fp64 rounded once, in units in the last place."""
    exact = reference(left, right, ratio)
    error = result.double() - exact.to(result.dtype).double()
    return (error.abs() / ulp(exact, result.dtype)).max().item()


def weights(seed: int, ratio: float, count: int = 3001) -> tuple[torch.Tensor, torch.Tensor]:
    """bf16 models like real ones: a third of theta near theta_0, a third anywhere, a third nearly cancelling it."""
    rng = torch.Generator().manual_seed(seed)
    left = (torch.randn(count, generator=rng) * 0.02).bfloat16()
    noise = torch.randn(count, generator=rng)
    near, anywhere = left.double() + 1e-3 * noise, 0.02 * noise
    cancelling = -left.double() * (1 - ratio) / max(ratio, 1e-3)
    third = torch.randint(3, (count,), generator=rng)
    right = torch.where(third == 0, near, torch.where(third == 1, anywhere, cancelling)).bfloat16()
    nudge = torch.randint(-1, 2, (count,), generator=rng, dtype=torch.int16)
    return left, torch.where(right == 0, right, (right.view(torch.int16) + nudge).view(torch.bfloat16))


@settings(max_examples=200, deadline=None)
@given(ratio=RATIOS, seed=st.integers(0, 2**32 - 1))
@example(ratio=0.8, seed=0)
def test_bf16_models_are_within_one_unit_even_where_they_nearly_cancel(ratio, seed):
    left, right = weights(seed, ratio)
    assert units(mixed(left, right, ratio), left, right, ratio) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(128, 255), st.integers(128, 255), st.floats(10, 40), st.booleans())
@example(128, 128, 18.0, True)
def test_bf16_sums_are_within_one_unit_however_far_they_cancel(first, second, bits, below):
    """Of all pairs of significands, one cancels but for 2^-bits of the terms; others come near by chance."""
    ratio = first / (first + second)
    ratio *= 1 + (-1 if below else 1) * 2.0**-bits
    significands = torch.arange(128.0, 256.0)
    left, right = torch.cartesian_prod(significands, -significands).T.bfloat16()
    left, right = torch.cat([left, left, left / 2]), torch.cat([right, right / 2, right])
    assert units(mixed(left, right, ratio), left, right, ratio) <= 1


def test_fp32_alone_would_not_do():
    """So the test above has teeth."""
    left, right = weights(0, 0.8)
    plain = (torch.tensor(1 - 0.8) * left.float() + torch.tensor(0.8) * right.float()).bfloat16()
    assert units(plain, left, right, 0.8) > 100


@pytest.mark.parametrize("dtype", TYPES)
@given(ratio=RATIOS, seed=st.integers(0, 2**32 - 1), count=st.sampled_from([0, 1, 2, 299, 300]))
def test_files_and_memory_agree_bit_for_bit_over_the_whole_range(dtype, ratio, seed, count):
    left, right = values(dtype, seed, count), values(dtype, seed + 1, count)
    in_memory, in_files = average({"w": left}, {"w": right}, ratio)["w"], mixed(left, right, ratio)
    assert torch.equal(in_files, in_memory) and torch.equal(in_files.signbit(), in_memory.signbit())


@pytest.mark.parametrize("dtype", TYPES)
@given(ratio=st.floats(0, 1))
def test_what_both_models_agree_on_stays(dtype, ratio):
    both = values(dtype, 3, 500)
    plain = (torch.linspace(-3, 3, 500) ** 3).to(dtype)
    for tensor in (both, plain):
        result = mixed(tensor, tensor.clone(), ratio)
        assert torch.equal(result, tensor) and torch.equal(result.signbit(), tensor.signbit())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_blocks_make_no_difference_and_theta_may_be_written_over(dtype, ratio, monkeypatch):
    left, right = (torch.randn(1001, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (0, 1))
    name, target = TYPES[dtype], stored(right.clone())
    monkeypatch.setattr(arithmetic, "_BLOCK", 64)
    assert mix(stored(left), name, target, name, ratio, target) is target
    assert units(tensor_of(target), left, right, ratio) <= (1 if 0 < ratio < 1 else 0)


def test_mostly_zeros_are_kept_exactly():
    left, right = torch.zeros(4096, dtype=torch.bfloat16), torch.zeros(4096, dtype=torch.bfloat16)
    left[7], right[9] = 3.0, -1.5
    result = mixed(left, right, 0.25)
    assert result[7] == 2.25 and result[9] == -0.375 and result.count_nonzero() == 2


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("count", [50, 51])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", TYPES)
def test_nan_and_inf_are_found_and_their_owner_is_named(dtype, value, count, ratio):
    good, bad = torch.ones(count, dtype=dtype), torch.ones(count, dtype=dtype)
    bad[count - 1] = value
    for models, owner in (((bad, good), "theta_0"), ((good, bad), "theta")):
        with pytest.raises(NotFinite, match=f"^{owner}$"):
            mixed(*models, ratio)


def test_a_sum_too_large_for_thetas_type_is_found():
    large, one = np.full(3, 1e5, np.float32), np.ones(3, np.float16)
    with pytest.raises(NotFinite, match="^sum$"):
        mix(large, "F32", one, "F16", 0.1)
    assert mix(large, "F32", one, "F16", 0.9)[0] == np.float16(10000.9)


def test_rounding_to_16_bits_is_to_nearest_even():
    numbers = np.concatenate([np.random.default_rng(0).normal(size=5000), 2.0 ** np.arange(-150, 127)])
    numbers = np.concatenate([numbers, 1 + np.arange(64) / 2**9, -(1 + np.arange(64) / 2**12)])
    tensor = torch.from_numpy(numbers)
    for dtype, name in ((torch.bfloat16, "BF16"), (torch.float16, "F16")):
        assert narrow(numbers, name).tobytes() == stored(tensor.float().to(dtype)).tobytes()


def test_nan_and_inf_are_found_in_every_type():
    for dtype, name in (*TYPES.items(), (torch.float64, "F64")):
        for value in (float("inf"), -float("inf"), float("nan"), -0.0):
            finite = value == 0
            assert all_finite(stored(torch.tensor([1.0, value, 2.0], dtype=dtype)), name) == finite
        assert all_finite(stored(torch.tensor([torch.finfo(dtype).max], dtype=dtype)), name)
