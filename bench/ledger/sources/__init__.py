"""What says more of a run than the records of its requests: spans of servers, and CPU time."""
