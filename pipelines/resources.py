"""What each task of the pipeline may use: CPU, memory, disk, GPU, time, tries, volumes and secrets.

Kubeflow (2.17) can neither request nor limit ephemeral storage; /tmp is a volume with a size limit in its place, over
which the kubelet evicts the pod. Artefacts lie in volumes of Kubeflow's own, which have no limit but a LimitRange's.
Kubeflow itself forbids privilege escalation, drops all capabilities and sets the seccomp profile (backend 2.16 and
newer); that the user is not root must be asked for.
"""

from typing import Any, Final, Literal, NamedTuple

from kfp import kubernetes
from kfp.dsl import PipelineTask

USER: Final = 10001
CACHE: Final = "dedpo-cache"
MOUNTED: Final = "/cache"
# Of another object store than the one in which artefacts go; Kubeflow's launcher, which reads it, runs in the task's
# own container. aws-sdk-go and boto know all of these.
BUCKET: Final = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3",
)  # fmt: skip
KEYS: Final = (
    "OPENAI_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "DEDPO_WEBHOOK_URL", "DEDPO_KUBEFLOW_URL", *BUCKET
)  # fmt: skip
HOUR: Final = 3600
# Hours that all of a task's tries together may wait for a node and pause.
WAITING: Final = 72


class Need(NamedTuple):
    """A task's share of a node.

    Attributes:
        cpu: cores: what is requested; twice as much may be used.
        memory: GiB: what is requested and what may be used; beyond that the task is killed.
        disk: GiB below /tmp.
        hours: until the pod is ended.
        tries: times that it is tried again after a failure, with pauses of 30, 60, 120, 240 and 480 s.
        gpu: 'one' or 'all' of the GPUs that the run may use, which may be none; or as the plan of the 'labelling' says.
            With 'all', what is requested and may be used grows with them; with 'labelling', what is requested.
        shm: GiB of /dev/shm; torch's processes share memory there, and the usual 64 MiB end in bus errors.
        cache: whether the model cache is mounted.
        keys: which keys of the Secret it may read.
    """

    cpu: int = 1
    memory: tuple[int, int] = (1, 4)
    disk: int = 5
    hours: int = 1
    tries: int = 0
    gpu: Literal["", "one", "all", "labelling"] = ""
    shm: int = 0
    cache: bool = False
    keys: tuple[str, ...] = ()


class Pool(NamedTuple):
    """Where GPUs are and how many a task gets, each a pipeline parameter or a task's output, as texts and JSON."""

    accelerator: Any
    gpus: Any
    node_selector: Any
    tolerations: Any
    cpus: Any = None
    memory: Any = None


NEEDS: Final[dict[str, Need]] = {
    "doctor": Need(keys=("OPENAI_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", *BUCKET)),
    "fetch": Need(cpu=2, memory=(2, 8), disk=100, hours=12, tries=3, keys=BUCKET),
    "import-pairs": Need(cpu=2, memory=(2, 16), disk=100, hours=12, tries=1, keys=BUCKET),
    "prepare": Need(cpu=2, memory=(2, 16), disk=100, hours=6, tries=1, cache=True, keys=("HF_TOKEN", *BUCKET)),
    "label": Need(
        cpu=4, memory=(24, 48), disk=50, hours=48, tries=3, gpu="labelling", shm=8, cache=True,
        keys=("OPENAI_API_KEY", "HF_TOKEN"),
    ),
    "merge-labels": Need(memory=(1, 8), disk=20, keys=BUCKET),
    "labels-given": Need(),
    "bias": Need(cpu=2, memory=(2, 16), disk=20, hours=3, cache=True),
    "gate": Need(),
    "targets": Need(cpu=2, memory=(2, 16), hours=3),
    "train": Need(disk=200, hours=168, tries=5, gpu="all", shm=16, cache=True, keys=("HF_TOKEN",)),
    "sample": Need(cpu=2, memory=(2, 32), disk=50, hours=24, tries=2, gpu="one", shm=2, cache=True, keys=("HF_TOKEN",)),
    "score": Need(cpu=2, memory=(2, 32), disk=50, hours=24, tries=3, gpu="one", shm=2, cache=True, keys=("HF_TOKEN",)),
    "judge": Need(memory=(1, 8), disk=20, hours=24, tries=3, cache=True, keys=("GEMINI_API_KEY",)),
    "report": Need(cpu=2, memory=(2, 16), disk=20, hours=3),
    "promote": Need(),
    "finish": Need(cache=True),
    "notify": Need(cache=True, keys=("DEDPO_WEBHOOK_URL", "DEDPO_KUBEFLOW_URL")),
}  # fmt: skip


def give(task: PipelineTask, name: str, *, image: Any, secret: Any = None, pool: Pool | None = None) -> PipelineTask:
    """Give a task what NEEDS says of `name`, in `image`, with the keys of the Secret and the GPUs of `pool`."""
    need = NEEDS[name]
    task.set_container_image(image)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_timeout(task, need.hours * HOUR)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=f"{need.disk}Gi")  # noqa: S108 (a volume of its own)
    if need.tries:
        # Argo counts it from the first try's start: after that nothing is tried again, and a try that still runs is
        # ended. So all tries must fit in, each with its whole time. SDK 2.17 sets no cap.
        longest = f"{need.hours * (need.tries + 1) + WAITING}h"
        task.set_retry(need.tries, backoff_duration="30s", backoff_factor=2, backoff_max_duration=longest)
    if need.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=f"{need.shm}Gi")  # noqa: S108
    if need.cache:
        kubernetes.mount_pvc(task, CACHE, MOUNTED)
        task.set_env_variable("DEDPO_CACHE", MOUNTED).set_env_variable("HF_HOME", f"{MOUNTED}/huggingface")
    if need.keys:
        names = {key: key for key in need.keys}
        kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env=names, optional=True)
    if pool is not None:
        _on_gpus(task, pool)
    _sized(task, need, pool)
    return task


def _sized(task: PipelineTask, need: Need, pool: Pool | None) -> None:
    cpu, most_cpu, (memory, most_memory) = str(need.cpu), str(2 * need.cpu), (f"{size}Gi" for size in need.memory)
    if pool is not None and pool.cpus is not None:
        cpu, memory = pool.cpus, pool.memory
    if need.gpu == "all":
        most_cpu, most_memory = cpu, memory
    task.set_cpu_request(cpu).set_cpu_limit(most_cpu)
    task.set_memory_request(memory).set_memory_limit(most_memory)


def _on_gpus(task: PipelineTask, pool: Pool) -> None:
    # Resources alone do not tell the compiler (2.17) that the task reads them: in a graph within the graph they would
    # be unknown.
    task.register_pipeline_channels([part for part in pool if part is not None])
    task.set_accelerator_type(pool.accelerator).set_accelerator_limit(pool.gpus)
    kubernetes.add_node_selector_json(task, pool.node_selector)
    kubernetes.add_toleration_json(task, pool.tolerations)
