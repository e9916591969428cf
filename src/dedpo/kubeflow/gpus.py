"""Which nodes a run's GPU tasks may use, and what cannot be done without a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from dedpo.contract.config import Config, explain
from dedpo.contract.sections import Section
from dedpo.errors import UserError, excerpt
from dedpo.kubeflow.parameters import Request


class Toleration(Section):
    """One of Kubernetes' tolerations: of which taint."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None  # noqa: N815 (Kubernetes' own name)

    @model_validator(mode="after")
    def _as_kubernetes(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes no value")
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator Equal needs a key")
        return self


class Pool(Section):
    """A pool of nodes with GPUs."""

    accelerator: str = Field("nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    selector: dict[str, str] = Field({})
    tolerations: list[Toleration] = Field([])


class Share(NamedTuple):
    """What one task asks of a node, as texts: Kubeflow's driver (2.17) reads a number of GPUs as none at all."""

    gpus: str
    cpus: str
    memory: str


def training(gpus: int) -> Share:
    """A training's share: CPU and memory grow with its GPUs."""
    return Share(str(gpus), str(max(2, 6 * gpus)), f"{max(4, 48 * gpus)}Gi")


def labelling(*, serves: bool, looks: bool) -> Share:
    """A label task's share: of a GPU only if it serves the annotator itself; more CPU if it runs a CLIP."""
    if serves:
        return Share("1", "4", "24Gi")
    return Share("0", "4", "8Gi") if looks else Share("0", "1", "1Gi")


def pool(given: Mapping[str, Any]) -> Pool:
    """The parameter gpu_pool, its shape checked.

    Raises:
        UserError: an unknown key, or a value that Kubernetes would refuse.
    """
    try:
        return Pool.model_validate(dict(given))
    except ValidationError as error:
        sample = '{"selector": {"pool": "gpu"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}'
        raise UserError(f"{explain(error, 'gpu_pool', Pool)}; write {sample}") from None


def problems(asked: Request, config: Config, *, in_image: bool) -> Iterator[str]:
    """What the run asks for and cannot have with so many GPUs.

    Args:
        in_image: whether a base model's folder would be here if there is one.
    """
    gpus = asked.gpus
    if gpus < 0:
        yield f"gpus: {gpus} is no count; set 0 or more"
        return
    processes = config.train.processes
    ranks = processes or (gpus if config.train.device != "cpu" else 1) or 1
    if config.train.batch_size % ranks:
        yield (
            f"train.batch_size: {config.train.batch_size} pairs cannot be shared equally by {ranks} ranks; make it a "
            f"multiple of {ranks}"
        )
    if gpus:
        if processes is not None and processes > gpus and config.train.device != "cpu":
            yield f"train.processes: {processes} ranks do not fit on {gpus} GPU; set it to {gpus}, or leave it out"
        return
    for stage, device in (("train", config.train), ("sample", config.sample), ("score", config.score)):
        if device.device == "cuda":
            yield f"{stage}.device cuda: it needs a GPU and gpus is 0; set gpus=1, or {stage}.device=auto"
    if config.train.precision == "fp16":
        yield "train.precision fp16: it needs a GPU and gpus is 0; set gpus=1, or train.precision=bf16"
    if config.train.optimizer == "adamw_8bit":
        yield "train.optimizer adamw_8bit: it needs a GPU and gpus is 0; set gpus=1, or train.optimizer=adamw"
    if config.score.precision != "fp32":
        yield f"score.precision {config.score.precision}: it needs a GPU and gpus is 0; set gpus=1, or fp32"
    if asked.labelling == "server" and config.label.served:
        yield "annotator_url: empty, so that vLLM runs in the label pods, and gpus is 0; name an endpoint or set gpus=1"
    base = config.train.base
    if (
        in_image
        and "/" in base
        and not base.startswith("/")
        and not Path(base).is_dir()
        and config.train.device != "cpu"
    ):
        yield (
            f"base {excerpt(base, 80)}: a model from the hub trains on a GPU and gpus is 0; set gpus=1, "
            "or train.device=cpu if it is a tiny one"
        )
