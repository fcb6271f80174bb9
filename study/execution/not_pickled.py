"""Parts of a study that Ray Tune pickles with itself, though nobody reads that."""


class NotPickled:
    """A mixin of which nothing is pickled."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()
