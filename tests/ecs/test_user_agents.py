import pytest

from collectord.ecs.user_agents import parse

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROMEBOOK = "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP2A.240805.005)"


@pytest.mark.parametrize(
    ("original", "name", "version", "system", "device"),
    [
        (f"{WINDOWS} {WEBKIT} Chrome/141.0.0.0 Safari/537.36", "Chrome", "141.0.0.0", "Windows 10", "Other"),
        (f"{WINDOWS} {WEBKIT} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.1", "Edge", "141.0.1", "Windows 10", "Other"),
        (
            f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
            "Safari",
            "18.1",
            "Mac OS X 10.15.7",
            "Mac",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox",
            "140.0",
            "Linux",
            "Other",
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox",
            "140.0",
            "Ubuntu",
            "Other",
        ),
        (
            f"{PIXEL} {WEBKIT} Chrome/141.0.0.0 Mobile Safari/537.36",
            "Chrome Mobile",
            "141.0.0.0",
            "Android 14",
            "Pixel 8",
        ),
        (f"{IPHONE} Version/18.1 Mobile/15E148 Safari/604.1", "Mobile Safari", "18.1", "iOS 18.1", "iPhone"),
        (f"{CHROMEBOOK} Chrome/141.0.0.0 Safari/537.36", "Chrome", "141.0.0.0", "Chrome OS 14541.0.0", "Chromebook"),
        ("Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", "IE", "11.0", "Windows 7", "Other"),
        ("python-requests/2.32.3", "Python Requests", "2.32.3", None, "Other"),
        ("okta-sdk-golang/2.0 golang/go1.22", "okta-sdk-golang", "2.0", None, "Other"),
        ("UNKNOWN", "Other", None, None, "Other"),
    ],
)
def test_a_browser_is_told_with_its_system(original, name, version, system, device):
    found = parse(original)
    assert found["original"] == original
    assert (found["name"], found.get("version"), found["device"]["name"]) == (name, version, device)
    assert found.get("os", {}).get("full") == system


def test_a_very_long_one_is_kept_whole_and_read_at_its_beginning():
    original = f"{WINDOWS} {WEBKIT} Chrome/141.0.0.0 " + "x" * 10_000
    found = parse(original)
    assert found["original"] == original
    assert found["name"] == "Chrome"


@pytest.mark.timeout(5)
@pytest.mark.parametrize("part", ["Android 1; ", "AppleWebKit/1 ", "iPhone", "Trident/", "a-", "Mac OS X "])
def test_none_takes_long_to_read(part):
    for number in range(200):
        parse(f"{number}{part * 100}")
