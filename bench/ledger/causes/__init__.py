"""From a run's summary to the causes of its latency, each with the command to type next."""
