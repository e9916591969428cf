"""Pictures, and the models that draw and look at them, as they lie on disks and on the hub."""
