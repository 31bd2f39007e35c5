"""The judge: runs a target on a case, holds its answers against the laws, and explains what broke."""
