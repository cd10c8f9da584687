"""The training story of each task, from a recipe's settings to its result."""
