"""The teaching text: `README.md`, and the attention that it ends with."""
