"""Many cases on many targets until it is enough, and what came of it."""
