"""What an import holds, as numbers and as a page."""
