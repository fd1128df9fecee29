"""The recipe of a robot policy: the typed configuration of the whole loop, its contradictions refused."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, model_validator

from components.agibot.config import AdoptConfig, IntakeConfig
from components.envisioner.config import NetworkConfig
from components.ge_act.config import ActionStageConfig, EvaluateConfig
from components.ge_base.config import ClipConfig, CodecStageConfig, FramesConfig, VideoStageConfig
from components.release.config import CandidateConfig, CheckConfig, GateConfig, PublishConfig
from components.retrain.config import DecideConfig, DropsConfig, NotifyConfig
from components.robots.config import HELD_OUT_SEEDS, RecordConfig
from components.training.config import TrainConfig
from data_contracts.action import Form, Space
from data_contracts.base import Contract
from data_contracts.evaluation import Arm
from pipelines.recipes.base import Recipe


class VideoPhase(Contract):
    """A phase that trains the video network: which clips, and how."""

    clip: ClipConfig
    train: TrainConfig


class ActionPhase(Contract):
    """A phase that trains on actions."""

    train: TrainConfig
    draws: int = Field(default=1, ge=1, description="noise draws of the action flow per video pass")
    caption_dropout: float = Field(default=0.06, ge=0, le=1)


class Evaluation(Contract):
    """The closed-loop evaluation; every arm sees the same scenes. Fields are `EvaluateConfig`'s."""

    tasks: tuple[tuple[str, int], ...] = Field(min_length=1, description="(task, level) pairs")
    episodes: int = Field(default=50, ge=1, description="per task")
    seed_base: int = 1_000_000
    execute_steps: int = Field(default=18, ge=1)
    memory_stride_steps: int = Field(default=30, ge=1)
    sampling_steps: int = Field(default=10, ge=1)
    videos: int = Field(default=4, ge=0)
    curve_episodes: int = Field(default=0, ge=0)
    processes: int = Field(default=2, ge=1)


class Retrain(Contract):
    """The recurring retrain. Fields are those of `DropsConfig`, `DecideConfig` and `NotifyConfig`."""

    ready: str = ""
    track: Literal["adapt", "full"] = "adapt"
    min_new_episodes: int = Field(default=1, ge=0)
    min_drift: float = Field(default=0.0, ge=0)
    webhook_env: str = "ORRERY_WEBHOOK"


class RobotRecipe(Recipe):
    """The whole loop of a robot policy."""

    policy: str = Field(
        default="ge-act", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="the name it is published under"
    )
    drop: str = Field(
        default="",
        description="an uploaded raw drop, for drop_intake, or the place where drops arrive, for retrain: "
        "a folder, a prefix, or a URL",
    )
    record: RecordConfig
    intake: IntakeConfig
    network: NetworkConfig
    frames_cameras: tuple[str, ...] = Field(
        default=("head_color", "hand_left_color", "hand_right_color"), min_length=1, description="the network's views"
    )
    holdout_every: int = Field(default=20, ge=2, description="every n-th episode is held out of training")
    codec_patches: int = Field(default=40_000, ge=1000, description="patches of each kind that the codec's fit sees")
    space: Space = "joint"
    form: Form = "absolute"
    stage1: VideoPhase
    stage2: VideoPhase
    pretrain: ActionPhase
    adapt: VideoPhase
    specialize: ActionPhase
    from_scratch: ActionPhase
    evaluation: Evaluation
    gate: GateConfig
    check: CheckConfig
    retrain: Retrain = Retrain()

    def stages(self) -> dict[str, Contract]:
        network = self.network
        video_only = network.model_copy(update={"action": None})
        drop, again = f"{self.name}-drop", self.retrain
        uploaded: dict[str, Contract] = {}
        if self.drop:
            uploaded = {
                "adopt": AdoptConfig(name=drop, source=self.drop),
                "drops": DropsConfig(name=drop, source=self.drop, ready=again.ready),
            }
        arms = {arm: self._arm(arm) for arm in ("expert", "mean-action", "policy", "from-scratch")}
        return {
            **uploaded,
            "record": self.record,
            "intake": self.intake,
            "frames": FramesConfig(
                name=f"{self.name}-frames",
                cameras=self.frames_cameras,
                image_height=network.image_height,
                image_width=network.image_width,
                holdout_every=self.holdout_every,
            ),
            "codec": CodecStageConfig(name=f"{self.name}-codec", network=video_only, patches=self.codec_patches),
            "stage1": self._video("ge-base-stage1", self.stage1, video_only),
            "stage2": self._video("ge-base-stage2", self.stage2, video_only),
            "adapt": self._video("ge-act-adapt", self.adapt, video_only),
            "pretrain": self._action("ge-act-pretrain", self.pretrain),
            "specialize": self._action("ge-act-specialize", self.specialize),
            "from_scratch": self._action("ge-act-from-scratch", self.from_scratch),
            **{f"evaluate_{arm.replace('-', '_')}": config for arm, config in arms.items()},
            "gate": self.gate.model_copy(update={"policy": self.policy}),
            "publish": PublishConfig(policy=self.policy),
            "check": self.check.model_copy(update={"policy": self.policy}),
            "candidate": CandidateConfig(policy=self.policy),
            "decide": DecideConfig(
                policy=self.policy,
                track=again.track,
                min_new_episodes=again.min_new_episodes,
                min_drift=again.min_drift,
            ),
            "notify": NotifyConfig(policy=self.policy, webhook_env=again.webhook_env),
        }

    def _video(self, name: str, phase: VideoPhase, network: NetworkConfig) -> VideoStageConfig:
        try:
            return VideoStageConfig(name=f"{self.name}-{name}", network=network, clip=phase.clip, train=phase.train)
        except ValidationError as error:
            said = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
            raise ValueError(f"{name.removeprefix('ge-base-').removeprefix('ge-act-')}: {said}") from None

    def _action(self, name: str, phase: ActionPhase) -> ActionStageConfig:
        return ActionStageConfig(
            name=f"{self.name}-{name}", network=self.network, train=phase.train, space=self.space, form=self.form,
            draws=phase.draws, caption_dropout=phase.caption_dropout,
        )  # fmt: skip

    def _arm(self, arm: Arm) -> EvaluateConfig:
        shared = self.evaluation.model_dump()
        if arm != "policy":
            shared["curve_episodes"] = 0
        return EvaluateConfig(
            name=f"{self.name}-{arm}", arm=arm, embodiment=self.record.embodiment, cameras=self.frames_cameras, **shared
        )

    @model_validator(mode="after")
    def _agree(self) -> RobotRecipe:
        self.stages()  # each stage's own checks
        missing = [camera for camera in self.frames_cameras if camera not in self.record.all_cameras]
        if missing:
            raise ValueError(
                f"frames_cameras names {missing[0]!r}, which record.cameras lacks; add it there, or drop it here"
            )
        if self.evaluation.seed_base < HELD_OUT_SEEDS:
            raise ValueError(
                f"evaluation.seed_base is {self.evaluation.seed_base}, among the seeds that recordings use; "
                f"set evaluation.seed_base={HELD_OUT_SEEDS} or more"
            )
        if len(self.frames_cameras) > self.network.video.max_views:
            raise ValueError(
                f"frames_cameras names {len(self.frames_cameras)} views but network.video.max_views is "
                f"{self.network.video.max_views}; raise it"
            )
        chunk = self.network.action.chunk if self.network.action else 0
        if self.evaluation.execute_steps > chunk:
            raise ValueError(
                f"evaluation.execute_steps is {self.evaluation.execute_steps} but a chunk has {chunk} steps "
                f"(network.action.chunk); set evaluation.execute_steps={chunk} or less"
            )
        return self
