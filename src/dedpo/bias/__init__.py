"""Where an annotator differs from people: on which words, over which property of the images, and how surely."""
