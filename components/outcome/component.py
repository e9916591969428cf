"""How a run has ended."""

from kfp import dsl
from kfp.dsl import PipelineTaskFinalStatus

from components import RUNTIME


@dsl.component(**RUNTIME)
def outcome(status: PipelineTaskFinalStatus):
    """Log in one line how the run has ended, also when it has failed.

    Args:
        status: What Kubeflow says of the stages.
    """
    from dedpo.ops import component

    print(component.outcome(status.pipeline_job_resource_name, status.state, status.error_message))
