"""The process: errors, files, the command line, hardware, interrupts, seeds."""
