"""theta_0 and theta in memory: whose head and whose rows a mixture has, against transformers and peft in fp64."""

import json
import shutil

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ama_models import batch
from averaging_models import make, save_pair, save_tokenizer
from llm.averaging.ama.gradient import engine_for
from llm.averaging.files.average import average_files
from llm.averaging.live import average, mix_
from llm.averaging.pair import Match, hashes, load_pair
from llm.averaging.ratios import in_order, uniform
from llm.errors import UserError
from llm.grouping import Grouping, labels, ratios
from llm.models.loading import load_model

IDS = torch.arange(4, 16).reshape(2, 6)
CPU, UNION = torch.device("cpu"), Match(vocab="union")
THREE = Grouping(parts=3, head="own")


def save(folder, name, seed, rows=64, **changes):
    made = make("llama", seed, num_hidden_layers=3, **changes)
    if rows > 64:
        made.resize_token_embeddings(rows, mean_resizing=False)
    made.save_pretrained(folder / name)
    save_tokenizer(folder / name, [f"w{index}" for index in range(64, rows)])
    return folder / name


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tied and untied models, one of each with two tokens more."""
    folder = tmp_path_factory.mktemp("pair")
    save(folder, "tied", 0, tie_word_embeddings=True)
    save(folder, "other-tied", 1, tie_word_embeddings=True)
    save(folder, "free", 2)
    save(folder, "tied-longer", 3, 66, tie_word_embeddings=True)
    save(folder, "free-longer", 4, 66)
    return folder


def double(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits.double()


def at(pair, alpha):
    """The logits of the mixture; `pair` stays as it is."""
    start = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
    mix_(pair.model, start, pair.theta, alpha)
    found = logits(pair.model)
    mix_(pair.model, start, pair.theta, 0.0)
    return found


def test_models_in_memory_and_folders_get_the_same_mixture(folders, tmp_path):
    """Bit by bit, with the same groups."""
    for theta_0, theta in (("tied", "free-longer"), ("free", "tied"), ("tied-longer", "other-tied")):
        out = tmp_path / f"{theta_0}-{theta}"
        recipe = (
            in_order("0.9,0.4,0.2,0.7", THREE, 3) if "free" in theta_0 + theta else in_order("0.9,0.4,0.2", THREE, 3)
        )
        report = average_files(folders / theta_0, folders / theta, out, recipe, union=True)
        pair = load_pair(folders / theta_0, folders / theta, "float32", CPU, UNION)
        start = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
        mix_(pair.model, start, pair.theta, ratios(pair.assignment(THREE), report.groups))
        written = load_model(out).state_dict()
        assert all(torch.equal(tensor, written[name]) for name, tensor in pair.model.state_dict().items())


@pytest.mark.parametrize("method", ["dare", "trim"])
def test_random_numbers_are_those_of_the_folders_whatever_the_models_are_called_in_memory(method, tmp_path):
    """As hub names GPT-2's tensors: without the prefix that they have in memory. Types are found by these names, too."""
    for folder in save_pair(tmp_path, "gpt2", torch.bfloat16, n_layer=2):
        state = load_file(folder / "model.safetensors")
        state = {one.removeprefix("transformer."): tensor for one, tensor in state.items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    average_files(tmp_path / "theta_0", tmp_path / "theta", tmp_path / "out", uniform(0.5, Grouping()), method=method)
    pair = load_pair(tmp_path / "theta_0", tmp_path / "theta", "bfloat16", CPU)
    assert pair.kind("transformer.wte.weight") == torch.bfloat16
    start = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
    mix_(pair.model, start, pair.theta, 0.5, method, names=pair.names)
    written = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in pair.model.state_dict().items():
        if name != "lm_head.weight":
            assert torch.equal(tensor, written[name.removeprefix("transformer.")]), name


def test_a_template_of_theta_goes_before_that_of_theta_0_s_tokenizer(tmp_path):
    save_pair(tmp_path, "llama")
    save_tokenizer(tmp_path / "theta_0")
    (tmp_path / "theta" / "chat_template.jinja").write_text("theta's {{ messages }}")
    pair = load_pair(tmp_path / "theta_0", tmp_path / "theta", "float32", CPU)
    assert pair.tokenizer.chat_template == "theta's {{ messages }}"


def test_a_model_that_cannot_be_mixed_stays_as_it_is(folders):
    pair = load_pair(folders / "free", folders / "tied", "float32", CPU)
    start = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
    last = list(start)[-1]
    for method, third in (("ties", {name: one for name, one in start.items() if name != last}), ("ties", None)):
        with pytest.raises(UserError):
            mix_(pair.model, start, pair.theta, 0.5, method, third)
        assert all(torch.equal(tensor, start[name]) for name, tensor in pair.model.state_dict().items())


@pytest.mark.parametrize(
    ("theta_0", "theta"),
    [("tied", "free"), ("free", "tied"), ("tied", "other-tied"), ("tied", "free-longer"), ("free", "tied-longer")]
    + [("free-longer", "tied"), ("tied-longer", "free")],
)
def test_a_mixture_has_the_heads_and_rows_of_both(folders, theta_0, theta):
    """A tied head is its embeddings; rows of theta only are theta's, and those of theta_0 only go."""
    pair = load_pair(folders / theta_0, folders / theta, "float32", CPU, UNION)
    low, high = double(folders / theta_0), double(folders / theta)
    both = ("model.embed_tokens.weight", "lm_head.weight")
    left, right = ({name: model.state_dict()[name] for name in both} for model in (low, high))
    rows = len(right[both[1]])
    shared = min(rows, len(left[both[1]]))
    torch.testing.assert_close(at(pair, 0.0)[..., :shared], logits(low)[..., :shared], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(at(pair, 1.0), logits(high), rtol=1e-4, atol=1e-5)
    mix_(pair.model, {name: t.clone() for name, t in pair.model.state_dict().items()}, pair.theta, 0.5)
    for name in both:
        exact = torch.cat([0.5 * left[name][:shared] + 0.5 * right[name][:shared], right[name][shared:]])
        torch.testing.assert_close(pair.model.state_dict()[name].double(), exact, rtol=1e-7, atol=1e-9)
    is_tied = pair.model.lm_head.weight is pair.model.model.embed_tokens.weight
    assert is_tied == (not {theta_0, theta} & {"free", "free-longer"})
    head = pair.assignment(THREE)["lm_head.weight"]
    assert head == ("part1" if is_tied else "head")


def test_the_loss_and_its_gradient_are_those_of_thetas_head(folders):
    """On the way (two models in memory) as with a third copy."""
    pair = load_pair(folders / "tied", folders / "free", "float32", CPU)
    assert any("theta-0's head is its embeddings" in note for note in pair.notes)
    assignment, some = pair.assignment(THREE), batch()
    engine = engine_for(pair.model, pair.theta, assignment, some)
    groups = dict.fromkeys(labels(assignment), 1.0)
    shifted, labels_ = double(folders / "free")(some["input_ids"]).logits[:, :-1], some["labels"][:, 1:]
    exact = torch.nn.functional.cross_entropy(shifted.transpose(1, 2), labels_, ignore_index=-100, reduction="none")
    rows = (exact.sum(dim=1) / (labels_ != -100).sum(dim=1)).detach()
    torch.testing.assert_close(engine.losses(groups, some), rows, rtol=1e-5, atol=1e-5)
    middle, step = dict.fromkeys(groups, 0.5), 1e-3
    slopes = engine.gradient(middle, some)[1]
    around = [engine.gradient(middle | {"head": 0.5 + sign * step}, some)[0] for sign in (1, -1)]
    assert slopes[-1].item() == pytest.approx((around[0] - around[1]) / (2 * step), rel=2e-3)


def test_a_head_that_is_stored_but_equal_follows_the_embeddings(folders, tmp_path):
    """As where both models store one matrix twice, which `average` sees too."""
    stored = double(folders / "tied").float()
    stored.lm_head.weight = torch.nn.Parameter(stored.lm_head.weight.detach().clone())
    stored.config.tie_word_embeddings = False
    stored.save_pretrained(tmp_path)
    pair = load_pair(folders / "other-tied", tmp_path, "float32", CPU)
    assert pair.assignment(THREE)["lm_head.weight"] == "part1"
    torch.testing.assert_close(at(pair, 1.0), logits(double(folders / "tied")), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ends", [("free", "tied"), ("tied", "free"), ("tied", "other-tied")])
def test_weights_are_exchanged_and_given_back_whichever_head_is_tied(ends, folders):
    pair = load_pair(*(folders / name for name in ends), "float32", CPU)
    for wanted in (ends[1], ends[0]):
        pair.exchange()
        torch.testing.assert_close(logits(pair.model), logits(double(folders / wanted)), rtol=1e-4, atol=1e-5)


def test_other_numbers_of_tokens_need_the_union(folders, tmp_path):
    adapter(folders / "free", tmp_path, 66, modules_to_save=["embed_tokens", "lm_head"])
    for theta in (folders / "free-longer", tmp_path):
        with pytest.raises(UserError, match="64 rows in theta-0 and 66 in theta; match: {vocab: union}"):
            load_pair(folders / "free", theta, "float32", CPU)


def adapter(base, to, rows=64, **changes):
    """A randomly drawn adapter on the model in `base`; returns the logits of the model that was trained, in fp64."""
    model = double(base)
    if rows > 64:
        model.resize_token_embeddings(rows, mean_resizing=False)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"} | changes
    torch.manual_seed(5)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **settings)).double()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "modules_to_save" in name or "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
    found = logits(wrapped.eval())
    wrapped.float().save_pretrained(to, save_embedding_layers=rows > 64)
    return found


@pytest.mark.parametrize(
    ("base", "rows", "changes"),
    [
        ("tied", 64, {"modules_to_save": ["lm_head"]}),
        ("tied", 64, {"target_modules": ["q_proj", "lm_head"]}),
        ("tied", 64, {"target_modules": ["q_proj", "embed_tokens"]}),
        ("tied", 64, {"target_modules": ["embed_tokens"], "ensure_weight_tying": True}),
        ("tied", 64, {"use_dora": True}),
        ("tied", 66, {}),
        ("free", 66, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    ],
)
def test_an_adapter_means_what_it_meant_in_training(folders, tmp_path, base, rows, changes):
    trained = adapter(folders / base, tmp_path / "theta", rows, **changes)
    pair = load_pair(folders / base, tmp_path / "theta", "float32", CPU, UNION if rows > 64 else Match())
    torch.testing.assert_close(at(pair, 1.0), trained, rtol=1e-4, atol=2e-5)
    start = logits(double(folders / base))
    torch.testing.assert_close(at(pair, 0.0)[..., :64], start, rtol=1e-4, atol=1e-5)
    assert (trained[..., :64] - start).abs().max() > 1e-3


def test_what_is_doubtful_is_refused_with_strict_and_settings_may_differ_where_they_are_named(folders, tmp_path):
    adapter(folders / "tied", tmp_path / "theta")
    with pytest.raises(UserError, match="strict is set, but: The adapter's base is"):
        load_pair(folders / "free", tmp_path / "theta", "float32", CPU, Match(strict=True))
    other = save(tmp_path, "other", 1, rope_parameters={"rope_type": "default", "rope_theta": 5e3})
    with pytest.raises(UserError, match="rope_theta in config.json is"):
        load_pair(folders / "free", other, "float32", CPU)
    load_pair(folders / "free", other, "float32", CPU, Match(ignore_config=("rope_parameters",)))


def test_rows_that_an_adapter_does_not_hold_are_refused(folders, tmp_path):
    adapter(folders / "free", tmp_path, 66, modules_to_save=["embed_tokens"])
    state = load_file(tmp_path / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "lm_head" not in name}
    save_file(kept, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"lacks rows 64 to 65 of lm_head\.weight"):
        load_pair(folders / "free", tmp_path, "float32", CPU, UNION)


def test_an_adapter_that_does_not_fit_is_refused_by_name(folders, tmp_path):
    adapter(folders / "tied", tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    state = load_file(file)
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    for changed in (
        state | {first.replace("0", "9"): state[first].clone()},
        {n: t for n, t in state.items() if n != first},
    ):
        save_file(changed, file)
        with pytest.raises(UserError, match=r"does not fit theta-0 \(.*lora_A.*is in one of them only"):
            load_pair(folders / "tied", tmp_path, "float32", CPU)
    save_file(state, file)
    assert any("adapter's base is" in note for note in load_pair(folders / "free", tmp_path, "float32", CPU).notes)


def test_weights_that_a_model_would_halve_when_it_is_first_run_are_mixed_as_they_are_stored(tmp_path):
    """RWKV, which transformers rescales in place for fp16."""
    config = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 3, "rescale_every": 1}
    models = []
    for name in ("theta_0", "theta"):
        torch.manual_seed(len(name))
        models.append(transformers.RwkvForCausalLM(transformers.RwkvConfig(**config)).eval())
        models[-1].save_pretrained(tmp_path / name)
        models[-1].config.rescale_every = 0  # as in training
        save_tokenizer(tmp_path / name)
    pair = load_pair(tmp_path / "theta_0", tmp_path / "theta", "float32", CPU)
    for alpha, model in ((0.0, models[0]), (1.0, models[1]), (0.0, models[0])):
        torch.testing.assert_close(at(pair, alpha), logits(model), rtol=1e-4, atol=1e-5)


def test_what_decides_a_model_is_hashed_and_nothing_else(folders, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folders / "tied", copy)
    before = hashes(copy)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(before)
    (copy / "tokenizer").mkdir()
    (copy / "README.md").write_text("a card")
    (copy / "trainer_state.json").write_text("{}")
    assert hashes(copy) == before
    for name in ("config.json", "added_tokens.json", "chat_template.jinja", "spiece.model", "adapter_config.json"):
        (copy / name).write_text("{}")
        assert hashes(copy)[name] != before.get(name)


@pytest.mark.parametrize("side", ["theta_0", "theta"])
@pytest.mark.parametrize("odd", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(folders, tmp_path, side, odd):
    paths = {name: shutil.copytree(folders / name, tmp_path / name) for name in ("tied", "other-tied")}
    theta_0, theta = paths.values()
    spoiled = theta_0 if side == "theta_0" else theta
    state = load_file(spoiled / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"][2, 3] = odd
    save_file(state, spoiled / "model.safetensors", metadata={"format": "pt"})
    said = rf"model.layers.1.mlp.up_proj.weight of {side.replace('_', '-')} \(.*\) holds NaN or Inf"
    with pytest.raises(UserError, match=said):
        load_pair(theta_0, theta, "float32", CPU)
    with pytest.raises(UserError, match="holds NaN or Inf"):
        load_model(spoiled)
    plain = {name: load_file(path / "model.safetensors") for name, path in zip(("theta_0", "theta"), (theta_0, theta))}
    with pytest.raises(UserError, match=f"up_proj.weight of {side} holds NaN or Inf"):
        average(plain["theta_0"], plain["theta"], 0.5)


def test_infinities_that_both_have_are_no_fault():
    mask = torch.tensor([0.0, float("-inf")])
    assert average({"mask": mask}, {"mask": mask.clone()}, 0.5)["mask"].tolist() == mask.tolist()


@pytest.mark.parametrize(
    ("key", "value", "default"),
    [("rms_norm_eps", 0.1, 1e-06), ("hidden_act", "gelu", "silu"), ("attention_bias", True, False)],
)
def test_a_setting_that_one_folder_leaves_out_is_its_classs_default(folders, tmp_path, key, value, default):
    def folder(name, given):
        path = shutil.copytree(folders / name, tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}")
        config = json.loads((path / "config.json").read_text())
        config.pop(key, None)
        (path / "config.json").write_text(json.dumps(config | given))
        return path

    without, same, other = folder("tied", {}), folder("other-tied", {key: default}), folder("other-tied", {key: value})
    assert load_pair(without, same, "float32", CPU).notes == []
    for pair in ((without, other), (other, without)):
        with pytest.raises(UserError, match=f"{key} in config.json is"):
            average_files(*pair, tmp_path / "out", in_order([0.5, 0.5, 0.5], THREE, None))
        if key != "attention_bias":  # a model with other tensors
            with pytest.raises(UserError, match=f"{key} in config.json is"):
                load_pair(*pair, "float32", CPU)
    assert not (tmp_path / "out").exists()
