"""A case is data: drawn, covered, simplified."""
