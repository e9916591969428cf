"""How sources are laid out: one file a layout."""
