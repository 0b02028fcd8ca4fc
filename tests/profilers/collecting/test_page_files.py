from profilers.collecting.page_files import page_file


def test_a_file_is_in_memory_once_however_many_ask_for_it() -> None:
    first, second = page_file("/page.js"), page_file("/page.js")
    assert first is not None
    assert second is not None
    assert first.content is second.content
