"""An image server of somebody else's behind our front: our queue, its pictures."""
