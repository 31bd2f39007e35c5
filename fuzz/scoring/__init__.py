"""How long each planted defect lives: the suite's own mutation score."""
