"""How numbers are written in claims, tables and pages: to three digits unless told, with a true minus sign."""


def format_number(value: float | None, digits: int = 3) -> str:
    """Write a number to so many digits, with a true minus sign; a dash when it was not measured."""
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}g}".replace("-", "−")


def format_interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Write an interval, or nothing when it was not measured."""
    if low is None or high is None or low != low or high != high:
        return ""
    return f"[{format_number(low, digits)}, {format_number(high, digits)}]"


def format_estimate(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """Write a number with its interval, or alone where that is undefined."""
    return f"{format_number(value, digits)} {format_interval(low, high, digits)}".rstrip()
