"""What the schedules are famous for, measured again: ``python -m reproductions.NAME``."""
