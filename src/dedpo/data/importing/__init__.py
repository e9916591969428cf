"""From rows of any layout to checked images, distinct pairs and ratings in shards."""
