"""What all settings are made of: models that are strict about names, and values with their units."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from collectord.settings import notation
from collectord.settings.notation import HOUR, MINUTE, parse_duration, parse_size

Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds."""
Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes."""
Then = Annotated[float | Literal["quit"], BeforeValidator(notation.parse_then)]
"""Seconds between attempts after the window, or `quit`: stop until restarted."""
Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(notation.parse_name)]


class Model(BaseModel):
    """Strict about names, silent about values: pydantic's own error text would print a mistyped secret."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True, val_json_bytes="utf8"
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        # A name that is not known stays, so that it is refused.
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def check_growth(initial: float, longest: float, then: float | Literal["quit"] | None) -> None:
    """Refuse waits that could not grow, in the words of the options."""
    if initial > longest:
        raise ValueError("initial must not be longer than max")
    if then == 0:
        raise ValueError("then must be longer than 0s")


class RetryPolicy(Model):
    """How long to wait after a failure: growing from `initial` to `max`, for `window`, then at the pace of `then`."""

    initial: Duration = Field(1.0, gt=0)
    max: Duration = 5 * MINUTE
    window: Duration = 90 * MINUTE
    then: Then = Field(HOUR, union_mode="left_to_right")

    @model_validator(mode="after")
    def _grows(self) -> RetryPolicy:
        check_growth(self.initial, self.max, self.then)
        return self
