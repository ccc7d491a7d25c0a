"""Tiny pairs of models for the tests of AMA and of `front`: theta_0, and theta a step away from it."""

import json
from types import MethodType

import torch
import transformers

from averaging_models import ARCHITECTURES, make, save_tokenizer

# A user's turn is w5 .. w6, the assistant's ends with w1, the end token.
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}w5 {{ m['content'] }} w6 "
    "{% else %}{{ m['content'] }} w1 {% endif %}{% endfor %}"
)


def near(theta_0, other, step):
    """theta_0 + step (other - theta_0), as a state dict; `step` is a number, or one for a tensor's name."""
    size = step if callable(step) else lambda name: step
    return {
        name: torch.lerp(tensor, other[name], size(name)) if tensor.is_floating_point() else tensor
        for name, tensor in theta_0.items()
    }


def pair(architecture="llama", dtype=torch.float64, step=0.3, layers=3, **changes):
    """(model holding theta_0, theta's state dict); theta's tied tensors stay one."""
    changes["n_layer" if architecture == "gpt2" else "num_hidden_layers"] = layers
    model, other = (wholly_in(dtype, make(architecture, seed, dtype, **changes)) for seed in (0, 1))
    theta = near(model.state_dict(), other.state_dict(), step)
    other.load_state_dict(theta)
    return model, {name: tensor.clone() for name, tensor in other.state_dict().items()}


def wholly_in(dtype, model):
    """The model with Llama's norms in its own precision (transformers computes them in fp32)."""

    def norm(self, hidden):
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    for module in model.modules():
        if dtype == torch.float64 and hasattr(module, "variance_epsilon"):
            module.forward = MethodType(norm, module)
    return model


def batch(rows=3, length=9, seed=0):
    """Random tokens with padding and a prompt; labels on the replies only."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 64, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, length - 2 :] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :3] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def save_models(folder, step=0.3, **changes):
    """theta_0, theta and a reward model as folders in `folder`."""
    model, theta = pair("llama", torch.float32, step, layers=3, **changes)
    model.save_pretrained(folder / "theta_0")
    model.load_state_dict(theta)
    model.save_pretrained(folder / "theta")
    settings = ARCHITECTURES["llama"][1] | {"num_labels": 1, "num_hidden_layers": 2}
    torch.manual_seed(2)
    scorer = transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**settings))
    with torch.no_grad():
        scorer.score.weight.normal_(0, 1)
    scorer.save_pretrained(folder / "reward")
    for name in ("theta_0", "theta", "reward"):
        save_tokenizer(folder / name, template=TEMPLATE)


def words(count, length, seed):
    """`count` texts of `length` random words, none of which begins with a special token's text."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(40, 64, (count, length), generator=generator).tolist()
    return [" ".join(f"w{token}" for token in row) for row in drawn]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def save_samples(path, count=40):
    """Prompts and replies of random words, with rewards."""
    pairs = zip(words(count, 3, 3), words(count, 4, 4), strict=True)
    return write_lines(path, [{"prompt": p, "reply": r, "reward": k} for k, (p, r) in enumerate(pairs)])
