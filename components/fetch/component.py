"""The source of the pairs: where it lies, or fetched from where it has a version."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from components import RUNTIME


@dsl.component(**RUNTIME)
def fetch(source: str, origin: str, commit: str, folder: Output[Dataset]) -> str:
    """Fetch versioned pairs or render the embedded ones, and say where the source lies; a folder's URI passes through.

    Args:
        source: A folder's URI, REPO@REVISION:PATH, or 'world' for the embedded pairs ('world:200': so many).
        origin: What the source is: 'folder', 'versioned' or 'world'.
        commit: The commit that REVISION stands for: results are reused until it changes.
        folder: What was fetched, every file's hash checked; a note for a folder that lies elsewhere.

    Returns:
        Output: The source's URI.
    """
    from pathlib import Path

    from dedpo.kubeflow import component
    from dedpo.kubeflow import source as places
    from dedpo.redact import without_userinfo

    with component.reported():
        if origin == "folder":
            component.note(folder.path, "The source lies where the parameter says.")
            return source
        if origin == "world":
            from dedpo.world.pairs import write_pairs

            write_pairs(places.world(source), out=Path(folder.path))
        else:
            from dedpo.lineage.pull import pull

            pull(places.pinned(source, commit), Path(folder.path))
        component.describe(folder, source=without_userinfo(source), data_revision=commit)
        return folder.uri
