"""Kernels for Blackwell's data-centre GPUs alone (sm_100, sm_103), in Gluon. Executed on a model, not on hardware."""
