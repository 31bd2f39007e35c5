"""What crashes, hangs or outgrows a process is a finding."""
