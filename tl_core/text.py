"""Numbers of things in words."""


def pluralize(n: int, thing: str, things: str = "") -> str:
    """Return `no epoch`, `1 epoch` or `1,200 epochs`; `things` if it is not `thing` and an s."""
    if n == 0:
        return f"no {thing}"
    return f"1 {thing}" if n == 1 else f"{n:,} {things or thing + 's'}"
