"""The record of a run, its forms as text, JUnit XML and HTML, and the merge of shards' records."""
