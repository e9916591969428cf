"""What only a run on Kubeflow needs: the checks before it, its parameters, its volume, how it is submitted."""
