"""How numbers are written in claims, tables and pages: to three digits, with a true minus sign."""


def format_number(value: float | None) -> str:
    """Write a number to three digits, with a true minus sign; a dash when it was not measured."""
    if value is None or value != value:
        return "–"
    return f"{value:.3g}".replace("-", "−")


def format_interval(low: float | None, high: float | None) -> str:
    """Write an interval, or nothing when it was not measured."""
    if low is None or high is None or low != low or high != high:
        return ""
    return f"[{format_number(low)}, {format_number(high)}]"


def format_estimate(value: float | None, low: float | None, high: float | None) -> str:
    """Write a number with its interval, or alone where that is undefined."""
    return f"{format_number(value)} {format_interval(low, high)}".rstrip()
