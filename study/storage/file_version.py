"""The version of a study's files, which is one for all of them."""

from study.system.errors import InputError

VERSION = 6


def check_version(where: object, version: object) -> None:
    """Refuse a file of another version.

    Args:
        where: the file.
        version: as it is written there.

    Raises:
        InputError: another release of this project has written it.
    """
    if version == VERSION:
        return
    older = isinstance(version, int) and version < VERSION
    raise InputError(
        f"{str(where)!r} has version {version!r}, {'older' if older else 'newer'} than this "
        f"project reads ({VERSION}); "
        + ("read it with the release that wrote it" if older else "update the project")
    )
