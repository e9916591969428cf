"""Statistics as pure functions: arrays in, numbers out; shared by the stages."""
