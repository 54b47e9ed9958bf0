"""What Locust shows while a load runs. Reports use none of it: they read the records."""

from locust import stats


def bucket(response_time_ms: float) -> float:
    """Return the response time to three digits: at most 0.5 % off, and 900 values a decade, so that
    the table that each worker sends, and the page sorts, stays small.
    """
    return float(f"{response_time_ms:.3g}")


def sharpen() -> None:
    """Have Locust's quantiles be of such times; its own are of whole milliseconds below 100 ms and
    of two digits above.
    """
    stats.bucket_response_time = bucket  # type: ignore[assignment]
