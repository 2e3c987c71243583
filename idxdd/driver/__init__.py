"""What the kernel's idxd driver does, in a process of its own: interrupts, commands, WQ and device life, kernel channels."""
