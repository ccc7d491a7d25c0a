"""Every method that changes training, by its name in settings and rows."""

from collections.abc import Callable

from llm.mitigations.er import Replay
from llm.mitigations.kd import kd
from llm.mitigations.l1 import l1
from llm.mitigations.l2 import l2
from llm.mitigations.lora import lora
from llm.mitigations.mitigation import Materials, Mitigation
from llm.mitigations.sma import ElasticReset

METHODS: dict[str, Callable[[dict, Materials], Mitigation]] = {  # (setting of `TrainingEntry.settings`, materials)
    "distilled": lambda setting, materials: Mitigation(),  # plain training, which the others are compared with
    "l1": lambda setting, materials: Mitigation(penalty=l1(setting["strength"])),
    "l2": lambda setting, materials: Mitigation(penalty=l2(setting["strength"])),
    "kd": lambda setting, materials: Mitigation(penalty=kd(setting["strength"])),
    "lora": lambda setting, materials: lora(**setting, seed=materials.seed),
    "sma": lambda setting, materials: Mitigation(after_step=ElasticReset(setting["strength"], setting["interval"])),
    "er": lambda setting, materials: Mitigation(mix=Replay(setting["strength"], materials.document)),
}
