"""The teaching text: chapters, what draws their figures, and the attention that reads a selection."""
