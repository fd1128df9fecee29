"""The `model.py` of a policy in a Triton repository: Triton's tensors in, Triton's tensors out, nothing else.

It is copied byte for byte to `triton/<policy>/1/model.py`; bundle and weights lie two folders above the model's, at
the root of the published version. A bad request gets its own error; the others in the same call are answered. Triton
counts an answer that is an error as a success, so outcomes have a metric of their own, by Orrery's version.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils  # given by Triton's Python backend, in no package

from components.release.serving_model import ServingModel
from components.release.sessions import RequestError

INPUTS = ("images", "state", "instruction", "session", "executed_steps", "reset", "seed")
OUTCOMES = ("answered", "refused", "failed")


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        version = parameters["version"]["string_value"]
        self.model = ServingModel.load(Path(args["model_repository"]) / parameters["bundle"]["string_value"])
        self.version = np.frombuffer(version.encode("ascii"), dtype=np.uint8)
        self.family = pb_utils.MetricFamily(
            name="orrery_policy_requests_total",
            description="Requests by what became of them",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        labels = {"policy": args["model_name"], "version": version}
        self.counted = {o: self.family.Metric(labels={**labels, "outcome": o}) for o in OUTCOMES}

    def execute(self, requests: list) -> list:
        return [self._respond(request) for request in requests]

    def _respond(self, request: object) -> object:
        try:
            tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in INPUTS}
            actions = self.model.answer({n: t.as_numpy() for n, t in tensors.items() if t is not None})
        except RequestError as error:
            return self._error("refused", str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # one request's trouble must not become everybody's
            pb_utils.Logger.log_error(f"request failed: {type(error).__name__}: {error}")
            what = f"the policy failed on this request ({type(error).__name__}); the server's log says more"
            return self._error("failed", what, pb_utils.TritonError.INTERNAL)
        self.counted["answered"].increment(1)
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor("actions", actions), pb_utils.Tensor("version", self.version)]
        )

    def _error(self, outcome: str, message: str, code: int) -> object:
        self.counted[outcome].increment(1)
        return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
