"""Is this answer right, and if not, why?"""
