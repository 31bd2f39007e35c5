"""Cases as data: how they are drawn, which dimensions they cover, and how they are made smaller."""
