from tests.support.core.drawn import broken, source_of
from tl_core.data.decode_source import format_bad, unreadable, why_unreadable


def test_files_of_one_kind_are_one_line() -> None:
    texts = [(f"cat/{i}.txt", "a text file") for i in range(1200)]
    torn = [("dog/1.jpg", "OSError: torn"), ("dog/2.jpg", "OSError: torn")]
    assert [*format_bad([("a.psd", "a Photoshop document"), *texts, *torn])] == [
        "1,203 files are not readable images (--skip-bad-images omits them, --exclude GLOB leaves "
        "out files by name):",
        "  a.psd: a Photoshop document",
        "  1,200 files, cat/0.txt, cat/1.txt, cat/2.txt and 1,197 more: each a text file",
        "  2 files, dog/1.jpg, dog/2.jpg: OSError: torn",
    ]


def test_what_cannot_be_decoded_is_named() -> None:
    source = source_of(broken(1, 4))
    assert unreadable(source, 16, [4, 0, 1]) == [
        ("photo-4", "OSError: 4 is torn"),
        ("photo-1", "OSError: 1 is torn"),
    ]
    assert why_unreadable(source, 3, 16) is None
