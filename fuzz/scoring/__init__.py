"""The suite's own mutation score: which planted defects die, by which law, and how soon."""
