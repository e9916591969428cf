"""The graph on Kubeflow, and its compiled YAML."""
