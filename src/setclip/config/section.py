"""What every part of a config is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
TestShare = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(min_length=1)]

TEST_FRACTION = 0.2


class Section(BaseModel):
    """A part of the config: unknown fields are errors, values do not change once validated."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
