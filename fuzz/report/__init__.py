"""One record, told as text, JUnit and HTML; shards merged."""
