"""Child processes that judge: a crash, a hang or a lack of memory is a finding."""
