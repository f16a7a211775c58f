"""Names of classes that are nearly the same."""

from tl_core.data.scanning.names import name_notes


def test_names_that_differ_in_case_or_separators() -> None:
    assert [*name_notes(["Cat", "cat", "dog", "guinea pig", "guinea_pig"])] == [
        "classes 'Cat' and 'cat' have nearly the same name: if they are one class, merge them",
        "classes 'guinea pig' and 'guinea_pig' have nearly the same name: if they are one class, "
        "merge them",
    ]
    assert [*name_notes(["cat", "dog", "1", "10"])] == []
