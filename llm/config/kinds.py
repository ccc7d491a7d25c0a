"""All kinds of presets, told apart by their key `data`; a new one is a file and a name here."""

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

from .hub import HubPreset
from .microcosm import MicrocosmPreset
from .preset import Preset
from .smollm import SmollmPreset

AnyPreset = Annotated[MicrocosmPreset | SmollmPreset | HubPreset, Field(discriminator="data")]

KINDS: dict[str, type[Preset]] = {
    get_args(kind.model_fields["data"].annotation)[0]: kind for kind in (MicrocosmPreset, SmollmPreset, HubPreset)
}
ANY_PRESET = TypeAdapter(AnyPreset)
