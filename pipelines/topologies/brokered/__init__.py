"""A chain whose stages are processes, with a message broker before each."""
