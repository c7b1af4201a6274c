"""Checks of flow control: what keeps calls and jobs from going on."""
