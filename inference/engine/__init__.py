"""The engine: images generated token by token, many at once, under bounds that a controller and a guard set."""
