"""The URL of a database, as text."""

from pathlib import Path

from study.system.errors import InputError

FLAG = "--optuna-storage"
EXAMPLE = "postgresql://user@host/database"


def check_url(text: str | None) -> None:
    """Check that it is a database's, if there is one, and holds no password.

    Raises:
        InputError: which repeats no password.
    """
    if text is None:
        return
    from sqlalchemy.engine import make_url  # here, since it takes a while

    try:
        url = make_url(text)
        url.get_dialect()
    except Exception:  # it may repeat what it was given
        raise InputError(
            f"{FLAG} must be a URL like {EXAMPLE}; what was given is none (it is not repeated "
            "here, since it may hold a password)"
        ) from None
    if url.password is not None or any(map(_is_secret, url.query)):
        raise InputError(
            f"{FLAG} must not hold a password, which would be kept in files and seen by others; "
            f"give {EXAMPLE}, and set PGPASSWORD in the environment or write a ~/.pgpass"
        )
    # In memory, or where another working directory would look for it elsewhere.
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_absolute():
        raise InputError(
            f"{FLAG} must name a SQLite file by its absolute path, sqlite:////path/to/file, "
            f"not {text!r}"
        )


def _is_secret(option: str) -> bool:
    name = option.lower()
    parts = ("pass", "pwd", "odbc_connect", "token", "secret", "key")
    return name not in ("passfile", "sslkey") and any(part in name for part in parts)
