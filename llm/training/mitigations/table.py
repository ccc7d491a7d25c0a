"""Every method that changes training, by its name in settings and rows."""

from collections.abc import Callable

from .er import Replay
from .kd import kd
from .l1 import l1
from .l2 import l2
from .lora import lora
from .mitigation import Materials, Mitigation
from .sma import ElasticReset

METHODS: dict[str, Callable[[dict, Materials], Mitigation]] = {  # (setting of `TrainingEntry.settings`, materials)
    "distilled": lambda setting, materials: Mitigation(),  # plain training, which the others are compared with
    "l1": lambda setting, materials: Mitigation(penalty=l1(setting["strength"])),
    "l2": lambda setting, materials: Mitigation(penalty=l2(setting["strength"])),
    "kd": lambda setting, materials: Mitigation(penalty=kd(setting["strength"])),
    "lora": lambda setting, materials: lora(**setting, seed=materials.seed),
    "sma": lambda setting, materials: Mitigation(after_step=ElasticReset(setting["strength"], setting["interval"])),
    "er": lambda setting, materials: Mitigation(mix=Replay(setting["strength"], materials.document)),
}
