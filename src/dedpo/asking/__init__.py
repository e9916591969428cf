"""Many questions to a server, none asked twice: endpoints, patience, answers on disk, failures counted."""
