"""How a run has ended."""

from kfp import dsl
from kfp.dsl import PipelineTaskFinalStatus

from components import RUNTIME


@dsl.component(**RUNTIME)
def finish(run_id: str, primary: str, promoted: bool):
    """Leave a mark on the cache volume that the run came to its end, for `notify`.

    It follows everything else and is never taken from Kubeflow's cache, so that the mark is there if, and only if,
    every task of this run has ended well.

    Args:
        run_id: The run's id.
        primary: The arm that the decision is about.
        promoted: Whether its policy is promoted.
    """
    from dedpo.kubeflow import notify as ops

    ops.finish(run_id, primary=primary, promoted=promoted)


@dsl.component(**RUNTIME)
def notify(run_id: str, status: PipelineTaskFinalStatus):
    """Say in one line how the run has ended, also when it has failed, there and at $DEDPO_WEBHOOK_URL; clean up.

    Args:
        run_id: The run's id, by which `finish` has left its mark.
        status: What Kubeflow says of the stages: the run's name, and a state that tells nothing of success.
    """
    from dedpo.kubeflow import component
    from dedpo.kubeflow import notify as ops

    ops.run(run=status.pipeline_job_resource_name, run_id=run_id, state=status.state, message=status.error_message)
    component.prune()
