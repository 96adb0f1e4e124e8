"""What stands around the jobs: the disk, the logs, backups, what is forgotten in time."""
