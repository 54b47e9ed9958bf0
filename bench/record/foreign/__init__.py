"""What others recorded: Triton's traces and counters, OpenTelemetry's spans; runs made of it."""
