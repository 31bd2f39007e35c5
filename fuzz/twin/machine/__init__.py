"""One program of a GPU: its warps, its memories, what is in flight, and what each warp knows."""
