"""Bundles: everything needed to run what is published. One that lacks a part can't be built, nor published."""

from __future__ import annotations

from pydantic import Field, model_validator

from data_contracts.action import ActionSchema
from data_contracts.base import Contract
from data_contracts.lineage import InputRef, Metric, ObjectRef


class MemoryPolicy(Contract):
    """Sparse memory: `frames` slots, the last is the current frame; shifts after `stride_steps` executed steps."""

    frames: int = Field(default=4, ge=1)
    stride_steps: int = Field(default=30, ge=1)


class PolicyBundle(Contract):
    """`bundle.json` of `models/<policy>/<version>/`."""

    policy: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    embodiment: str
    network: dict[str, object] = Field(description="the network's configuration, as its own config class dumps it")
    weights: ObjectRef
    codec: ObjectRef
    cameras: tuple[str, ...] = Field(min_length=1, description="in the order in which the network takes its views")
    image_height: int = Field(gt=0)
    image_width: int = Field(gt=0)
    action: ActionSchema
    memory: MemoryPolicy
    control_rate_hz: float = Field(gt=0)
    execute_steps: int = Field(gt=0, description="steps of a chunk to execute before asking again")
    sampling_steps: int = Field(gt=0, description="Euler steps of the action flow")
    instructions: tuple[str, ...] = Field(min_length=1, description="example instructions it was trained on")
    lineage: dict[str, InputRef] = Field(min_length=1)
    evaluation: dict[str, Metric] = Field(min_length=1, description="the metrics that the gate saw")

    @model_validator(mode="after")
    def _consistent(self) -> PolicyBundle:
        if self.execute_steps > self.action.chunk:
            raise ValueError(
                f"execute_steps is {self.execute_steps} but a chunk has {self.action.chunk} steps; lower execute_steps"
            )
        if self.control_rate_hz != self.action.rate_hz:
            raise ValueError(
                f"control_rate_hz {self.control_rate_hz} differs from action.rate_hz {self.action.rate_hz}; equal them"
            )
        return self


class LanguageBundle(Contract):
    """`bundle.json` of a published language model: a Hugging Face folder, which vLLM serves as it is."""

    policy: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    architecture: str = Field(description="the network's class in transformers, which vLLM knows by the same name")
    context: int = Field(gt=0, description="longest sequence, tokens")
    files: tuple[ObjectRef, ...] = Field(min_length=1)
    lineage: dict[str, InputRef] = Field(min_length=1)
    evaluation: dict[str, Metric] = Field(min_length=1, description="the scores that the gate saw")

    @model_validator(mode="after")
    def _whole(self) -> LanguageBundle:
        names = {file.path for file in self.files}
        for needed in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            if needed not in names:
                raise ValueError(f"the model lacks {needed}; save it with its tokenizer")
        if not any(name.endswith(".safetensors") for name in names):
            raise ValueError("the model has no weights in safetensors; save it with safe_serialization")
        return self
