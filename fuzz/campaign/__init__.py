"""Campaigns: many cases on many targets, within a budget, and their findings."""
