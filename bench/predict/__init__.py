"""How much can it take: from measured points to a knee, a rate that holds a limit, and what breaks.

The statistics know neither a clock nor a file, so that they are tested on simulated queues."""
